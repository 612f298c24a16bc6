"""Make one HTML page of finished or running trainings: ``python page.py RUN [RUN ...]``; ``--help`` shows what else there is.

Of one run it shows what the network has learnt, of several also how they differ. The file needs no server, no network and no
other file.
"""

import argparse
import sys
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

from configs import SettingsError
from pages.build import page_charts, write_page
from pages.charts import save_charts
from pages.claims import read_claims
from pages.comparison import label_runs
from pages.figures import write_figures
from pages.run_data import read_run
from pages.sweep import is_sweep, write_sweep_page


def main(arguments: list[str]) -> int:
    """Write a page.

    Returns:
        The exit status: 0 done, 2 a mistake in the arguments.
    """
    options = _parse_arguments(arguments)
    try:
        if is_sweep(options.runs[0]):
            if len(options.runs) > 1:
                raise SettingsError("a sweep has a page of its own; name it alone")
            print(f"Open {write_sweep_page(options.runs[0], options.out)}")
        elif options.image:
            write_photograph_page(options)
        else:
            write_runs_page(options)
    except SettingsError as mistake:
        print(f"page.py: {mistake}", file=sys.stderr)
        return 2
    return 0


def _parse_arguments(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="page.py", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", nargs="+", type=Path, metavar="RUN", help="folder of a run, or of one sweep")
    parser.add_argument("--out", type=Path, help="the page [default: RUN/index.html, of several runs comparison.html]")
    parser.add_argument("--image", type=Path, metavar="PHOTO", help="show this photograph to the run's network instead")
    parser.add_argument("--charts", type=Path, metavar="FOLDER", help="write the charts as SVG and PNG too")
    parser.add_argument("--figures", type=Path, metavar="FOLDER", help="write the report's Figures 6 to 13 of these runs too")
    parser.add_argument("--claims", type=Path, metavar="FILE", help="measures.json of tools/measure.py: the report's claims")
    return parser.parse_args(arguments)


def write_runs_page(options: argparse.Namespace) -> None:
    """Write the page of one run or of several, and the files that were asked for.

    Raises:
        SettingsError: something is no run's folder, or no file of claims.
    """
    runs = [read_run(folder) for folder in options.runs]
    claims = read_claims(options.claims, runs) if options.claims else ()
    file = options.out or (options.runs[0] / "index.html" if len(runs) == 1 else Path("comparison.html"))
    for each in write_page(runs, file, claims=claims):
        print(f"{each.second} against {each.first}: {each.result.verdict if each.result else each.problem}")
    if options.charts:
        print(f"{len(save_charts(page_charts(runs, label_runs(runs)), options.charts))} charts in {options.charts}")
    if options.figures:
        files, lacking = write_figures(runs, options.figures)
        print("\n".join([f"{len(files)} files of the report's figures in {options.figures}", *lacking]))
    print(f"Open {file} ({file.stat().st_size / 1e6:.1f} MB)")


def write_photograph_page(options: argparse.Namespace) -> None:
    """Write the page of a photograph, by default as ``photographs/PHOTO.html`` in the run's folder.

    Raises:
        SettingsError: the run's weights or data are missing, or the photograph can't be read.
    """
    from experiment.photograph import look_at_photograph  # loads torch, which other pages don't need

    if len(options.runs) > 1:
        raise SettingsError("--image takes one run")
    (run,) = options.runs
    file: Path = options.out or run / "photographs" / f"{options.image.stem}.html"
    with TemporaryDirectory() as place:
        folder = Path(place)
        predicted = look_at_photograph(run, options.image, folder)
        file.parent.mkdir(parents=True, exist_ok=True)
        write_page([replace(read_run(folder), missing=[], name=f"{run.resolve().name}, {options.image.name}")], file)
    print("\n".join(f"{share:6.1%} {name}" for name, share in predicted))
    print(f"Open {file}")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
