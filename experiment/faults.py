"""What nobody foresaw: a fault of the program, never put down to its user."""

import sys
import traceback

from configs.files import atomic_write_text
from experiment.run_folder import ERROR_FILE, Run, resume_hint

EXIT_STATUS = 70  # EX_SOFTWARE of sysexits.h: an internal error


def report_fault(fault: Exception, run: Run | None) -> int:
    """Write the traceback into the run's folder, or to the terminal where there is none, and say so in one line.

    Args:
        fault: the exception that nothing has handled.
        run: the run in which it was raised, None before its settings were read.

    Returns:
        The exit status.
    """
    text, place, hint = "".join(traceback.format_exception(fault)), "above", ""
    if run and run.folder:
        file = run.folder / ERROR_FILE
        hint = f" {resume_hint(run.folder)}"
        try:
            atomic_write_text(file, f"{run.command}\n\n{text}")
            place = f"in {file}"
        except OSError:  # such as on a full disk
            print(text, file=sys.stderr)
    else:
        print(text, file=sys.stderr)
    kind = type(fault).__name__
    print(f"train.py: a fault of the program ({kind}), not of your settings. The traceback is {place}.{hint}", file=sys.stderr)
    return EXIT_STATUS
