"""Train AlexNet or ZFNet and look inside at every epoch: ``python train.py model=alexnet``; ``--help`` shows every setting."""

import sys

from configs import SettingsError
from configs.parser import help_text
from experiment.faults import report_fault
from experiment.run_folder import Run, exit_code_for_agent, open_run


def main(arguments: list[str]) -> int:
    """Run one training with these arguments of the command line.

    Under W&B's agent a run that diverged or was interrupted ends with 0: the agent gives up its sweep after a few that don't.

    Returns:
        The exit status: 0 done, 1 diverged or short of disk or memory, 2 a mistake in the settings, 70 a fault of the program,
        130 interrupted.
    """
    if {"-h", "--help"} & set(arguments):
        print(help_text())
        return 0
    run: Run | None = None
    try:
        run = open_run(arguments)
        from experiment.run import train  # here, as torch takes seconds: help and mistakes in the settings don't wait for it

        return train(run)
    except SettingsError as mistake:
        print(f"train.py: {mistake}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("\nInterrupted outside of training; what its epochs left is kept")
        return exit_code_for_agent(130)
    except Exception as fault:  # the one place for what nobody foresaw
        return report_fault(fault, run)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
