"""``python -m benchmarks [NAME ...] [--repeats N] [--out FOLDER]``: measure, print a table, write JSON and Markdown."""

import argparse
import dataclasses
import json
from collections.abc import Callable
from functools import partial
from pathlib import Path

import torch
from rich.console import Console
from rich.table import Table

from benchmarks.devices import two_processes
from benchmarks.loop import lightning_loop, processes
from benchmarks.mirror import mirror
from benchmarks.pictures import pictures
from benchmarks.pipeline import input_pipeline
from benchmarks.projections import graphs, projections, strongest_of_all_maps
from benchmarks.recording import recording
from benchmarks.steps import training_steps
from benchmarks.timing import Row
from benchmarks.transposed import transposed_convolutions
from configs import SettingsError
from experiment.hardware import describe_hardware

BENCHMARKS: dict[str, Callable[[int], list[Row]]] = {
    "alexnet_step": partial(training_steps, "alexnet"),
    "zfnet_step": partial(training_steps, "zfnet"),
    "loop": lightning_loop,
    "mirror": mirror,
    "pipeline": input_pipeline,
    "alexnet_pictures": partial(pictures, "alexnet"),
    "zfnet_pictures": partial(pictures, "zfnet"),
    "projections": projections,
    "graphs": graphs,
    "recording": recording,
    "transposed": transposed_convolutions,
    "strongest": strongest_of_all_maps,
    "alexnet_processes": partial(processes, "alexnet"),
    "zfnet_processes": partial(processes, "zfnet"),
    "alexnet_devices": partial(two_processes, "alexnet"),
    "zfnet_devices": partial(two_processes, "zfnet"),
}


def main() -> None:
    """Run the benchmarks named, or all."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"any of {', '.join(BENCHMARKS)} [default: all]")
    parser.add_argument("--repeats", type=int, default=9, help="turns of each comparison [default: 9]")
    parser.add_argument("--out", type=Path, help="folder for benchmark.json and benchmark.md [default: only print]")
    options = parser.parse_args()
    if unknown := set(options.names) - set(BENCHMARKS):
        parser.error(f"no benchmark {', '.join(sorted(unknown))}; choose from {', '.join(BENCHMARKS)}")
    console = Console()
    rows: list[Row] = []
    for name in options.names or BENCHMARKS:
        with console.status(f"{name} ..."):
            try:
                rows += BENCHMARKS[name](options.repeats)
            except SettingsError as mistake:
                parser.exit(2, f"python -m benchmarks: {name}: {mistake}\n")
    console.print(_table(rows))
    if options.out:
        options.out.mkdir(parents=True, exist_ok=True)
        where = f"{describe_hardware()}, torch {torch.__version__}"
        record = {"machine": where, "repeats": options.repeats, "rows": [dataclasses.asdict(row) for row in rows]}
        (options.out / "benchmark.json").write_text(json.dumps(record, indent=1) + "\n")
        (options.out / "benchmark.md").write_text(_markdown(rows, options.names, where, options.repeats))


def _cells(row: Row) -> tuple[str, ...]:
    spread = f" ({row.spread[0]:.3g} to {row.spread[1]:.3g})" if row.spread else ""
    return row.name, f"{row.ours:.4g}", f"{row.theirs:.4g}", row.unit, f"{row.ratio:.3g}{spread}", row.meaning


def _table(rows: list[Row]) -> Table:
    table = Table("what", "ours", "theirs", "unit", "ratio (spread)", "meaning", title=describe_hardware())
    for row in rows:
        table.add_row(*_cells(row))
    return table


def _markdown(rows: list[Row], names: list[str], where: str, repeats: int) -> str:
    lines = [
        "# Benchmarks",
        "",
        f"`{' '.join(['python -m benchmarks', *names])} --repeats {repeats}`;",
        f"{where}.",
        f"Medians of {repeats} turns; the spread is the lowest and the highest ratio of a turn.",
        "",
        "| what | ours | theirs | unit | ratio (spread) | meaning |",
        "|---|---|---|---|---|---|",
        *("| " + " | ".join(_cells(row)) + " |" for row in rows),
    ]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
