"""One run: its five steps, what it keeps and where it computes."""
