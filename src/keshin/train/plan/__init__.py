"""What a run takes before it is begun: work, memory, exchanges, time and cost."""
