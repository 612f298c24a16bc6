"""``python -m datamodules.check ROOT``: reads every image of a data set, and its cache, and names all that is broken.

ROOT is what ``data.root`` would be: the folder that holds 101_ObjectCategories, or a folder with a folder for each class.
"""

import argparse
import sys
from pathlib import Path

from configs import DataSettings, SettingsError
from datamodules import image_folder
from datamodules.cache import check_cache, decode_all
from datamodules.caltech101 import files as caltech101
from datamodules.caltech101.classes import BACKGROUND
from datamodules.caltech101.datamodule import Caltech101
from datamodules.decoding import decode
from datamodules.image_folder import ImageFolder


def main(arguments: list[str]) -> int:
    """Check a data set. Returns the exit status: 0 all sound, 1 something is broken, 2 there is no such data set."""
    parser = argparse.ArgumentParser(prog="python -m datamodules.check", description="Names all broken images of a data set.")
    parser.add_argument("root", type=Path, help="as data.root: holds 101_ObjectCategories, or a folder for each class")
    parser.add_argument("--cache-dir", help="as data.cache_dir, if that was set")
    options = parser.parse_args(arguments)
    try:
        return check(options.root, options.cache_dir)
    except SettingsError as mistake:
        print(f"datamodules.check: {mistake}", file=sys.stderr)
        return 2


def check(root: Path, cache_dir: str | None) -> int:
    """Print a line for each image that is broken or missing, one for the cache, and how many are sound.

    Raises:
        SettingsError: below ``root`` lies no data set.
    """
    missing: list[str] = []
    data: Caltech101 | ImageFolder
    if folder := caltech101.unpacked_folder(root):
        background = (folder / BACKGROUND).is_dir()
        data = Caltech101(DataSettings(root=str(root), background=background, cache_dir=cache_dir), 0, seed=0)
        found = caltech101.list_images(folder, background, skip_missing=True)
        files, missing = found.files, found.missing
    else:
        folder, data = root, ImageFolder(DataSettings(name="folder", root=str(root), cache_dir=cache_dir), 0, seed=0)
        files = image_folder.list_images(folder).files
    faults = dict.fromkeys(missing, "missing")
    sound = sum(1 for _ in decode_all(folder, files, decode, faults))
    for file, reason in sorted(faults.items()):
        print(f"{folder / file}: {reason}")
    cache_is_sound = True
    for background in (True, False) if isinstance(data, Caltech101) else (False,):
        data.settings.background = background
        listed = [file for file in files if background or not file.startswith(f"{BACKGROUND}/")]
        is_sound, line = check_cache(data.cache_file(), folder, listed)
        cache_is_sound &= is_sound
        print(line)
    print(f"{sound:,} of {sound + len(faults):,} images are sound")
    return 0 if cache_is_sound and not faults else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
