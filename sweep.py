"""Run a W&B sweep file with no server and no account: ``python sweep.py sweeps/lr.yaml``; ``--help`` shows what else there is.

The same file works with ``wandb sweep FILE`` and ``wandb agent ID``. Here Optuna searches, its study is a database beside the
runs, and the same command resumes after any interruption: finished trials stay, a training that was interrupted resumes after
its last epoch. The runs appear in W&B as a group of that name; that group is no W&B sweep object.
"""

import argparse
import signal
import sys
from pathlib import Path

from filelock import FileLock, Timeout
from optuna.trial import FrozenTrial
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

from configs import SettingsError
from pages.sweep import write_sweep_page, write_sweep_record
from trials.plots import write_plots
from trials.report import describe_ending, read_results, seed_means_table, trials_table, write_csv
from trials.runner import Runner
from trials.study import Study
from trials.sweep_file import Sweep, folder_name, read_sweep

OFFLINE_RUNS = "trial-*/wandb/offline-run-*"


def main(arguments: list[str]) -> int:
    """Run a sweep.

    Returns:
        The exit status: 0 done, 1 trials failed or the disk is full, 2 a mistake in the file or the arguments, 130 interrupted.
    """
    options = _parse_arguments(arguments)
    try:
        sweep = read_sweep(options.file)
        folder: Path = options.runs / folder_name(sweep.name)
        folder.mkdir(parents=True, exist_ok=True)
        with FileLock(folder / ".lock", timeout=0):
            return run(sweep, folder, options)
    except SettingsError as mistake:
        print(f"sweep.py: {mistake}", file=sys.stderr)
    except Timeout:
        hint = "is being run already; --jobs runs several trials at a time, --storage shares them among machines"
        print(f"sweep.py: the sweep in {folder} {hint}", file=sys.stderr)
    except OSError as problem:  # such as a full disk
        print(f"sweep.py: {problem}; the same command resumes the sweep", file=sys.stderr)
        return 1
    return 2


def _parse_arguments(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="sweep.py", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file", type=Path, help="a W&B sweep file, such as sweeps/lr.yaml")
    parser.add_argument("overrides", nargs="*", help="further settings for each training, such as logger=none")
    parser.add_argument("--jobs", type=int, default=1, help="trials at a time [default: 1]")
    parser.add_argument("--retry-failed", action="store_true", help="run failed trials once more")
    parser.add_argument("--runs", type=Path, default=Path("runs"), help="folder that holds the sweep's folder [default: runs]")
    parser.add_argument(
        "--storage", help="a database that several machines share, by its SQLAlchemy URL [default: beside the runs]"
    )
    parser.add_argument("--seed", type=int, default=0, help="of the search, for random and bayes [default: 0]")
    options = parser.parse_intermixed_args(arguments)
    if options.jobs < 1:
        parser.error("--jobs must be 1 or more")
    return options


def run(sweep: Sweep, folder: Path, options: argparse.Namespace) -> int:
    """Run a sweep's trials in its folder, show what came out. Returns the exit status."""
    console = Console()
    study = Study(sweep, folder, options.storage, options.seed)
    if sweep.description:
        console.print(sweep.description)
    console.print(f"{sweep.name}: {study.planned} trials; in W&B a group of runs of this name, no W&B sweep object")
    if not _run_trials(study, folder, options, console):
        console.print(f"\nInterrupted; resume with: python sweep.py {options.file}")
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
    failed = sum(result.state == "failed" for result in results)
    if failed:
        console.print(f"{failed} failed; run them once more with: python sweep.py {options.file} --retry-failed")
    console.print(f"Open {page}", soft_wrap=True)
    return 1 if failed else 0


def _run_trials(study: Study, folder: Path, options: argparse.Namespace, console: Console) -> bool:
    """Run trials until there are none left, with a line for each. Returns False where Ctrl-C came before that."""
    metric, varied = study.sweep.metric.name, study.sweep.varied
    adopted = study.resume_interrupted(options.retry_failed)
    runner = Runner(study, folder, options.jobs, tuple(options.overrides))
    columns = (
        TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TextColumn("{task.fields[news]}"),
    )  # fmt: skip
    with Progress(*columns, console=console, disable=not console.is_terminal) as bar:
        task = bar.add_task(study.sweep.name, total=study.planned, completed=len(study.finished()), news="")

        def print_ending(trial: FrozenTrial) -> None:
            best, finished = study.best_trial(), len(study.finished())
            news = [] if best is None else [f"best {metric} {best.value:.4g} (trial {best.number})"]
            news += [f"{study.time_left(options.jobs)} left"] if finished < study.planned else []
            bar.update(task, completed=finished, total=study.planned, news="; ".join(news))
            count = f"{finished} of {study.planned}"
            console.print("; ".join([describe_ending(trial, varied, metric), count, *news]), soft_wrap=True)

        try:
            runner.run(adopted, print_ending)
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
