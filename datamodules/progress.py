"""Progress bars: all alike, on standard error, only on a terminal, gone when done."""

import sys

from rich.console import Console
from rich.progress import BarColumn, Progress, ProgressColumn, TextColumn, TimeRemainingColumn


def progress_bar(amount: ProgressColumn) -> Progress:
    """Build a bar whose ``amount`` column says how much is done, to be used as a context manager."""
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        amount,
        TimeRemainingColumn(),
        console=Console(stderr=True),
        transient=True,
        disable=not sys.stderr.isatty(),
    )
