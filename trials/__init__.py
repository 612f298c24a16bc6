"""Sweeps without a server: W&B's sweep files, searched by Optuna, each trial a training in a process of its own."""
