"""Run a W&B sweep file with no server and no account: ``python sweep.py sweeps/lr.yaml``; ``--help`` shows what else there is.

The same file works with ``wandb sweep FILE`` and ``wandb agent ID``. Here Optuna searches, its study is a database beside the
runs, and the same command resumes after any interruption: finished trials stay, a training that was interrupted resumes after
its last epoch. The runs appear in W&B as a group of that name; that group is no W&B sweep object.
"""

import argparse
import shlex
import signal
import sys
from pathlib import Path

from filelock import FileLock, Timeout
from rich.console import Console

from configs import SettingsError
from pages.sweep import write_sweep_page, write_sweep_record
from trials.check import check_sweep
from trials.database import GRACE_SECONDS, DatabaseGoneError
from trials.dry_run import planned_trials
from trials.mistakes import SweepFileError
from trials.plots import write_plots
from trials.progress import SweepProgress
from trials.report import read_results, seed_means_table, trials_table, write_csv
from trials.runner import Runner
from trials.study import Study
from trials.sweep_file import Sweep, folder_name, read_sweep
from trials.weights import names_what_to_keep

ABANDONED = f"Of a machine that never comes back the same command takes over after {GRACE_SECONDS // 60} min"
OVERRIDES_HELP = (
    "further settings for each training, such as logger=none; trainer.keep=last keeps each trial's weights, of which otherwise "
    "the best trial's alone stay"
)
OFFLINE_RUNS = "trial-*/wandb/offline-run-*"


def main(arguments: list[str]) -> int:
    """Run a sweep.

    Returns:
        The exit status: 0 done, 1 trials failed, the disk is full or the database gone, 2 a mistake in the file or the
        arguments, 130 interrupted.
    """
    options = _parse_arguments(arguments)
    try:
        sweep = read_sweep(options.file)
        check_sweep(sweep, options.overrides)
        folder: Path = options.runs / folder_name(sweep.name)
        if options.dry_run:
            return show_trials(sweep, folder, options)
        folder.mkdir(parents=True, exist_ok=True)
        with FileLock(folder / ".lock", timeout=0):
            return run(sweep, folder, options)
    except SweepFileError as error:
        for line in error.mistakes:
            print(f"sweep.py: {line}", file=sys.stderr)
    except SettingsError as mistake:
        print(f"sweep.py: {mistake}", file=sys.stderr)
    except Timeout:
        hint = "is being run already; --jobs runs several trials at a time, --storage shares them among machines"
        print(f"sweep.py: the sweep in {folder} {hint}", file=sys.stderr)
    except DatabaseGoneError as problem:
        print(f"sweep.py: {problem}. Trainings go on; the same command resumes the sweep", file=sys.stderr)
        return 1
    except OSError as problem:  # such as a full disk
        print(f"sweep.py: {problem}; the same command resumes the sweep", file=sys.stderr)
        return 1
    return 2


def _parse_arguments(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="sweep.py", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file", type=Path, help="a W&B sweep file, such as sweeps/lr.yaml")
    parser.add_argument("overrides", nargs="*", help=OVERRIDES_HELP)
    parser.add_argument("--jobs", type=int, default=1, help="trials at a time [default: 1]")
    parser.add_argument("--dry-run", action="store_true", help="show the trials that are left and their commands, start none")
    parser.add_argument("--retry-failed", action="store_true", help="run failed trials once more")
    parser.add_argument("--runs", type=Path, default=Path("runs"), help="folder that holds the sweep's folder [default: runs]")
    parser.add_argument(
        "--storage", help="a database that several machines share, by its SQLAlchemy URL [default: beside the runs]"
    )
    parser.add_argument("--seed", type=int, default=0, help="of the search, for random and bayes [default: 0]")
    options = parser.parse_intermixed_args(arguments)
    if options.jobs < 1:
        parser.error("--jobs must be 1 or more")
    if options.dry_run and options.storage:
        parser.error("--dry-run reads the study beside the runs only: leave --storage out")
    return options


def show_trials(sweep: Sweep, folder: Path, options: argparse.Namespace) -> int:
    """Print the trials that are left and their commands. Returns the exit status."""
    count = 0
    for trial in planned_trials(sweep, folder, options.seed, options.retry_failed, options.overrides):
        print(f"{trial.label}: {shlex.join(trial.command) or 'has been started already'}")
        count += 1
    draws = ", drawn by what is known now" if sweep.method == "bayes" else ""
    print(f"{sweep.name}: {count} trials are left{draws}; --dry-run starts and writes nothing")
    return 0


def run(sweep: Sweep, folder: Path, options: argparse.Namespace) -> int:
    """Run a sweep's trials in its folder, show what came out. Returns the exit status."""
    console = Console(markup=False, emoji=False)  # the texts of a sweep file are texts
    study = Study(sweep, folder, options.storage, options.seed, options.overrides)
    if sweep.description:
        console.print(sweep.description)
    console.print(f"{sweep.name}: {study.planned} trials; in W&B a group of runs of this name, no W&B sweep object")
    if not names_what_to_keep((*sweep.parameters, *sweep.command, *options.overrides)):
        console.print("On disk: the best trial's weights stay; trainer.keep=last after the file's name keeps each trial's")
    if not _run_trials(study, folder, options, console):
        console.print("\nInterrupted; the same command resumes the sweep")
        return 130
    results = read_results(study)
    console.print(trials_table(study, results))
    if (means := seed_means_table(study, results)) is not None:
        console.print(means)
    write_csv(results, folder / "trials.csv")
    for file in [folder / "trials.csv", *write_plots(study, results, folder)]:
        console.print(f"Written: {file}", soft_wrap=True)
    write_sweep_record(folder, sweep.metric.name, sweep.metric.maximize)
    page = write_sweep_page(folder)
    if any(folder.glob(OFFLINE_RUNS)):
        console.print(f"W&B kept runs offline. Upload them: wandb sync {folder / OFFLINE_RUNS}", soft_wrap=True)
    if elsewhere := study.running_elsewhere():
        machines = ", ".join(f"trial {trial.number} on {trial.user_attrs.get('host', 'a machine')}" for trial in elsewhere)
        console.print(f"Still run elsewhere: {machines}. {ABANDONED}")
    failed = sum(result.state == "failed" for result in results)
    if failed:
        console.print(f"{failed} failed; run them once more with: python sweep.py {options.file} --retry-failed")
    console.print(f"Open {page}", soft_wrap=True)
    return 1 if failed else 0


def _run_trials(study: Study, folder: Path, options: argparse.Namespace, console: Console) -> bool:
    """Run trials until there are none left. Returns False where Ctrl-C came before that."""
    adopted = study.resume_interrupted(options.retry_failed)
    runner = Runner(study, folder, options.jobs, tuple(options.overrides))
    with SweepProgress(study, console, options.jobs) as progress:
        try:
            runner.run(adopted, progress.end, progress.look)
        except KeyboardInterrupt:
            runner.interrupt()
            return False
    return True


def _end_as_by_ctrl_c() -> None:
    """Have SIGTERM and a closed terminal interrupt the sweep as Ctrl-C does, so that no training is left behind without it."""
    for number in (getattr(signal, name) for name in ("SIGTERM", "SIGHUP") if hasattr(signal, name)):
        if signal.getsignal(number) != signal.SIG_IGN:  # as after nohup
            signal.signal(number, signal.default_int_handler)


if __name__ == "__main__":
    _end_as_by_ctrl_c()
    sys.exit(main(sys.argv[1:]))
