"""Look at photographs through a network: ``python look.py photo.jpg``; ``--help`` shows what else there is.

Prints the most probable classes and writes a picture of what each layer sees. The network is that of the newest run, or of
another one, or one of torchvision's.
"""

import argparse
import sys
from pathlib import Path

from configs import SettingsError


def main(arguments: list[str]) -> int:
    """Look at photographs.

    Returns:
        The exit status: 0 done, 2 a mistake in the arguments, or a network or photograph that can't be looked at.
    """
    options = _parse_arguments(arguments)
    try:
        return look(options)
    except (SettingsError, ValueError, TypeError, OSError) as mistake:  # those of the lens say what to do
        print(f"look.py: {' '.join(str(mistake).split())}", file=sys.stderr)
        return 2


def look(options: argparse.Namespace) -> int:
    """Look at the photographs, print what they are taken for and write the picture. Returns the exit status."""
    from experiment.lenses import (
        lens_of_run,
        lens_of_torchvision,
        newest_run,
    )  # here, as torch takes seconds: --help doesn't wait

    if options.network:
        lens = lens_of_torchvision(options.network, trained=not options.untrained)
    else:
        run = options.run or newest_run(options.runs)
        print(f"The network of {run}")
        lens = lens_of_run(run)
    print(lens)
    seen = lens(options.photographs)
    print(seen)
    if seen.left_out:
        print(seen.left_out)
    out: Path = options.out or Path(f"{options.photographs[0].stem}-seen.png")
    seen.picture(options.layers, options.classes).save(out)
    print(f"Open {out}: what each layer sees")
    return 0


def _parse_arguments(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="look.py", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("photographs", type=Path, nargs="+", metavar="PHOTO")
    source = parser.add_mutually_exclusive_group()
    source.add_argument("--run", type=Path, help="a run's folder [default: the newest in --runs]")
    source.add_argument("--network", metavar="NAME", help="one of torchvision's networks, such as torchvision:resnet18")
    parser.add_argument("--runs", type=Path, default=Path("runs"), help="folder that holds the runs' folders [default: runs]")
    parser.add_argument("--untrained", action="store_true", help="with --network: random weights, without a download")
    parser.add_argument(
        "--layers", nargs="+", metavar="LAYER", help="convolution layers to show [default: all, or eight of them]"
    )
    parser.add_argument("--classes", nargs="+", metavar="CLASS", help="classes for DeNet [default: the most probable one]")
    parser.add_argument("--out", type=Path, help="the picture [default: PHOTO-seen.png]")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
