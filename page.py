"""Make one HTML page of finished or running trainings: ``python page.py RUN [RUN ...]``; ``--help`` shows what else there is.

Of one run it shows what the network has learnt, of several also how they differ. The file needs no server, no network and no
other file.
"""

import argparse
import sys
from pathlib import Path

from configs import SettingsError
from pages.build import label_runs, page_charts, write_page
from pages.charts import save_charts
from pages.figures import write_figures
from pages.run_data import read_run


def main(arguments: list[str]) -> int:
    """Write a page.

    Returns:
        The exit status: 0 done, 2 a mistake in the arguments.
    """
    parser = argparse.ArgumentParser(prog="page.py", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", nargs="+", type=Path, metavar="RUN", help="folder of a run")
    parser.add_argument("--out", type=Path, help="the page [default: RUN/index.html, of several runs comparison.html]")
    parser.add_argument("--charts", type=Path, metavar="FOLDER", help="write the charts as SVG and PNG too")
    parser.add_argument("--figures", type=Path, metavar="FOLDER", help="write the report's Figures 6 to 13 of these runs too")
    options = parser.parse_args(arguments)
    try:
        runs = [read_run(folder) for folder in options.runs]
    except SettingsError as mistake:
        print(f"page.py: {mistake}", file=sys.stderr)
        return 2
    default = options.runs[0] / "index.html" if len(runs) == 1 else Path("comparison.html")
    file: Path = options.out or default
    for each in write_page(runs, file):
        print(f"{each.second} against {each.first}: {each.result.verdict if each.result else each.problem}")
    if options.charts:
        print(f"{len(save_charts(page_charts(runs, label_runs(runs)), options.charts))} charts in {options.charts}")
    if options.figures:
        files, lacking = write_figures(runs, options.figures)
        print("\n".join([f"{len(files)} files of the report's figures in {options.figures}", *lacking]))
    print(f"Open {file} ({file.stat().st_size / 1e6:.1f} MB)")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
