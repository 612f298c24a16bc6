"""Parts of the recipe switched off one by one, in real trainings of a tiny network on generated shapes."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from configs.parser import flat, load_settings, parse
from experiment.run_folder import read_metrics
from tools import ablation
from tools.ablation import COLUMNS, PARTS, WHOLE, main

WORDS = (
    "data=shapes", "data.images_per_class=10", "data.image_size=67", "data.train_sizes=[67]", "trainer.max_epochs=1",
    "logger=none", "viz.sensitivity=false", "viz.page=false",
)  # fmt: skip


@pytest.fixture
def two_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ablation, "PROGRAM", ("-m", "tests.experiment.small_run"))
    monkeypatch.setattr(ablation, "PARTS", {part: PARTS[part] for part in (WHOLE, "dropout")})


def ablate(monkeypatch: pytest.MonkeyPatch, out: Path, *words: str) -> int:
    monkeypatch.setattr(sys, "argv", ["tools.ablation", *words, "--out", str(out)])
    return main()


def test_each_part_is_a_setting_of_the_default_recipe_that_it_changes() -> None:
    whole = flat(parse([]))
    for part, word in PARTS.items():
        changed = {key: value for key, value in flat(parse([word] if word else [])).items() if value != whole[key]}
        assert list(changed) == ([] if part == WHOLE else [word.partition("=")[0]])


@pytest.mark.slow
@pytest.mark.usefixtures("two_parts")
def test_a_line_for_each_part_and_what_has_ended_is_not_run_again(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert ablate(monkeypatch, tmp_path, *WORDS) == 0
    command, _, header, _, *lines = (tmp_path / "ablation.md").read_text().splitlines()
    assert "data.images_per_class=10" in command
    assert header.strip("| ").split(" | ") == list(COLUMNS)
    assert [[cell.strip() for cell in line.split("|")[1:3]] for line in lines] == [
        [WHOLE, ""],
        ["dropout", "`model.dropout=0`"],
    ]
    folders = [tmp_path / "whole-recipe", tmp_path / "dropout"]
    assert [load_settings(folder / "config.yaml").model.dropout for folder in folders] == [0.1, 0]
    for folder, line in zip(folders, lines, strict=True):
        (row,) = read_metrics(folder)
        accuracy, loss, cosine, *_ = [cell.strip() for cell in line.split("|")[3:]]
        assert (accuracy, loss) == (f"{100 * row['val/accuracy']:.1f} %", f"{row['val/loss']:.3f}")
        assert cosine == f"{1 - row['learned/conv1']:.2f}"
    monkeypatch.setattr(ablation, "PROGRAM", ("-c", "raise AssertionError"))
    assert ablate(monkeypatch, tmp_path, *WORDS) == 0


@pytest.mark.slow
@pytest.mark.usefixtures("two_parts")
def test_a_killed_training_resumes(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    words = [*WORDS, "trainer.max_epochs=20"]
    start = f"from tools import ablation; ablation.PROGRAM = {ablation.PROGRAM}; ablation.main()"
    command = [sys.executable, "-c", start, *words, "--out", str(tmp_path)]
    tool = subprocess.Popen(command, start_new_session=True, cwd=Path(__file__).parents[2], stdout=subprocess.DEVNULL)
    checkpoint = tmp_path / "whole-recipe" / "checkpoints" / "last.ckpt"
    while not checkpoint.exists():
        assert tool.poll() is None
        time.sleep(0.05)
    os.killpg(tool.pid, signal.SIGKILL)
    tool.wait()
    assert not (tmp_path / "whole-recipe" / "summary.json").exists(), "the kill came too late"
    before = read_metrics(tmp_path / "whole-recipe")
    assert ablate(monkeypatch, tmp_path, *words) == 0
    after = read_metrics(tmp_path / "whole-recipe")
    assert [row["epoch"] for row in after] == list(range(1, 21))
    assert after[: len(before)] == before
    assert len((tmp_path / "ablation.md").read_text().splitlines()) == 6


@pytest.mark.usefixtures("two_parts")
@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["optim.lr=fast"], "tools.ablation: optim.lr="),
        (["data.val_fraction=0"], "tools.ablation: data.val_fraction=0: parts are judged by validation images; leave some"),
    ],
)
def test_a_mistake_is_one_line_before_any_training(
    words: list[str], line: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert ablate(monkeypatch, tmp_path / "out", *words) == 2
    output = capsys.readouterr()
    assert (output.out, len(output.err.splitlines())) == ("", 1)
    assert output.err.startswith(line)
    assert not (tmp_path / "out").exists()


@pytest.mark.usefixtures("two_parts")
def test_a_training_that_does_not_end_stops_the_rest(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(ablation, "PROGRAM", ("-c", "raise SystemExit(2)"))
    assert ablate(monkeypatch, tmp_path, *WORDS) == 2
    assert capsys.readouterr().err == "tools.ablation: whole-recipe has not ended; the same command goes on with it\n"


@pytest.mark.usefixtures("two_parts")
def test_ctrl_c_says_how_to_go_on(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(ablation, "PROGRAM", ("-c", "import os, signal; os.kill(os.getppid(), signal.SIGINT)"))
    assert ablate(monkeypatch, tmp_path, *WORDS) == 130
    assert capsys.readouterr().err == "tools.ablation: interrupted; the same command goes on\n"
