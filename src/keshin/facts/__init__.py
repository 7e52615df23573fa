"""What is true outside this program: prompts, and later releases and data sets."""
