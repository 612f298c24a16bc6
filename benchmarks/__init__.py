"""What is fast and by how much: ``python -m benchmarks`` measures side by side, prints a table and writes it to a folder."""
