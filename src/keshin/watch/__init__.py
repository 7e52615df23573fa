"""Watching a run: what it logged, as charts and tables, and what its model finds. No PyTorch."""
