"""Train without each part of the default recipe: ``python -m tools.ablation --out runs/ablation [key=value ...]``.

The words go to every training: its budget, its seed, its validation images. Trainings run one after another, each in a
folder of its own below ``--out``. One that has ended is not run again, and an interrupted one resumes, so the same command
goes on after an interruption. After each, ``ablation.md`` has a line more: what the last epoch has with the part switched
off. A W&B sweep can't say this, as the values of its grids are combined.
"""

import argparse
import shlex
import statistics
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from configs import SettingsError
from configs.parser import parse
from experiment.run_folder import read_metrics, read_summary

WHOLE = "whole recipe"
PARTS = {
    WHOLE: "",
    "centred filters at their own rate": "optim.filter_rate=0",
    "faster biases of filters": "optim.bias_rate=0.0004",
    "weight decay": "optim.weight_decay=0",
    "warm-up": "optim.warmup_epochs=0",
    "falling rate": "optim.schedule=constant",
    "label smoothing": "optim.label_smoothing=0",
    "clipping of gradients": "optim.clip=0",
    "dropout": "model.dropout=0",
    "growing images": "data.train_sizes=[]",
    "crops": "data.crop_area=1",
    "mirror images": "data.flip=false",
    "changes of colour": "data.jitter=0",
    "CutMix": "data.cutmix=0",
}
"""Each part, with the setting that switches it off."""

PROGRAM = ("train.py",)
"""What trains: arguments of the interpreter, seen from the project's folder."""

CONVOLUTIONS = ("conv1", "conv2", "conv3", "conv4", "conv5")
COLUMNS = (
    "switched off", "setting", "validation top-1", "loss", "cosine to the start, conv1", "median of conv2 to conv5",
    "conv1's low frequencies", "dead maps", "inside the outline, conv5", "minutes",
)  # fmt: skip


def train_without(word: str, folder: Path, words: Sequence[str]) -> None:
    """Train with the words and with ``word``, which may be empty, in ``folder``; go on with a training that is there.

    Raises:
        SettingsError: it has not ended.
    """
    if read_summary(folder / "summary.json") is not None:
        return
    new = [*words, *filter(None, [word]), f"runs={folder.parent}", f"name={folder.name}"]
    started = (folder / "checkpoints" / "last.ckpt").exists()
    command = [sys.executable, *PROGRAM, *([f"resume={folder}"] if started else new)]
    subprocess.run(command, cwd=Path(__file__).parents[1])
    if read_summary(folder / "summary.json") is None:  # one that diverged has ended too
        raise SettingsError(f"{folder.name} has not ended; the same command goes on with it")


def format_row(part: str, folder: Path) -> str:
    """Return a training's line of the table, from its last epoch; what it hasn't recorded is left empty."""
    rows = read_metrics(folder)
    last = rows[-1]
    cosines = [1 - last[name] for layer in CONVOLUTIONS if (name := f"learned/{layer}") in last]
    dead = [last[name] for layer in CONVOLUTIONS if (name := f"dead/{layer}") in last]
    figures = [
        f"{100 * last['val/accuracy']:.1f} %",
        f"{last['val/loss']:.3f}",
        f"{cosines[0]:.2f}" if cosines else "",
        f"{statistics.median(cosines[1:]):.2f}" if cosines else "",
        f"{last['low_frequency/conv1']:.2f}" if "low_frequency/conv1" in last else "",
        f"{sum(dead):.0f}" if dead else "",
        f"{last['inside/conv5']:.3f}" if "inside/conv5" in last else "",
        f"{sum(row['seconds'] for row in rows) / 60:.0f}",
    ]
    setting = f"`{PARTS[part]}`" if PARTS[part] else ""
    return f"| {part} | {setting} | {' | '.join(figures)} |"


def main() -> int:
    """Read the command line, train, and write the table after each training.

    Returns:
        The exit status: 0 done, 2 for a mistake in the words or a training that hasn't ended, 130 after Ctrl-C.
    """
    parser = argparse.ArgumentParser(
        prog="python -m tools.ablation", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("words", nargs="*", metavar="key=value", help="settings of all trainings, as train.py takes them")
    parser.add_argument("--out", type=Path, required=True, help="folder of the trainings and of ablation.md")
    options = parser.parse_args()
    lines = ["| " + " | ".join(COLUMNS) + " |", "|---" * len(COLUMNS) + "|"]
    try:
        for word in PARTS.values():
            if parse([*options.words, *filter(None, [word])]).data.val_fraction == 0:
                raise SettingsError("data.val_fraction=0: parts are judged by validation images; leave some")
        for part, word in PARTS.items():
            folder = options.out.resolve() / part.replace(" ", "-")
            train_without(word, folder, options.words)
            lines.append(format_row(part, folder))
            command = shlex.join(["python", "-m", "tools.ablation", *sys.argv[1:]])
            (options.out / "ablation.md").write_text("\n".join([f"`{command}`", "", *lines]) + "\n")
    except SettingsError as mistake:
        print(f"tools.ablation: {mistake}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("tools.ablation: interrupted; the same command goes on", file=sys.stderr)
        return 130
    print(f"Written: {options.out / 'ablation.md'}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
