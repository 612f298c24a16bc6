"""Where a run lives, how resume= finds it, and what is said about resuming it."""

import os
from pathlib import Path

import pytest
import torch

from configs import SettingsError
from configs.parser import load_settings, parse, plain, save_settings
from experiment.run_folder import new_folder, open_run, read_metrics, read_rows, read_summary, resume_hint


def interrupted_run(runs: Path, *arguments: str, age: int = 0) -> Path:
    """A run's folder as an interruption leaves it, with an empty checkpoint."""
    settings = parse([f"runs={runs}", *arguments])
    folder = new_folder(settings)
    save_settings(settings, folder / "config.yaml")
    (folder / "checkpoints").mkdir()
    checkpoint = folder / "checkpoints" / "last.ckpt"
    checkpoint.touch()
    os.utime(checkpoint, (1_000_000 - age, 1_000_000 - age))
    return checkpoint


def test_runs_never_share_a_folder(tmp_path: Path) -> None:
    settings = parse([f"runs={tmp_path}", "seed=3"])
    assert [new_folder(settings).name for _ in range(3)] == [f"alexnet-caltech101-seed3{end}" for end in ("", "-2", "-3")]
    assert new_folder(parse([f"runs={tmp_path}", "name=mine"])).name == "mine"


def test_a_folder_that_cant_be_made_is_one_clear_line(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(SettingsError, match="name a folder that can be written"):
        new_folder(parse([f"runs={tmp_path / 'file'}"]))


def test_resume_last_is_the_newest_run_whatever_its_name(tmp_path: Path) -> None:
    named = interrupted_run(tmp_path, "name=mine", age=90)
    interrupted_run(tmp_path, age=50)
    interrupted_run(tmp_path, "seed=12", age=20)
    newest = interrupted_run(tmp_path, "model=zfnet", "data=shapes", age=10)
    assert open_run([f"runs={tmp_path}", "resume=last"]).checkpoint == newest
    assert open_run([f"runs={tmp_path}", "resume=last", "name=mine"]).checkpoint == named
    with pytest.raises(SettingsError, match=r"model=alexnet: the run in .* has model.name=zfnet"):
        open_run([f"runs={tmp_path}", "resume=last", "model=alexnet"])


@pytest.mark.parametrize(
    ("argument", "answer"),
    [("resume=", "there is no value"), ("resume=null", "leave resume= out"), ("--resume=None", "leave resume= out"),
     ("resume=''", "there is no checkpoint"), ("resume=" + "x" * 300, "File name too long")],
)  # fmt: skip
def test_nothing_named_to_resume_is_no_new_run(
    argument: str, answer: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SettingsError, match=answer):
        open_run([argument])


def test_what_may_change_is_told_and_the_rest_is_refused_by_name(tmp_path: Path) -> None:
    resume = f"resume={interrupted_run(tmp_path, 'recipe=report', 'optim.lr=0.3')}"
    run = open_run([resume, "trainer.max_epochs=70", "trainer.devices=2", "logger=csv"])
    assert run.changes == ("trainer.max_epochs 50 -> 70", "trainer.devices auto -> 2", "logger.name wandb -> csv")
    assert run.settings.resume is None, "its config.yaml repeats the run"
    for arguments, answer in (
        (["recipe=fast"], r"recipe=fast: the run in .* has data.train_sizes=\[\]; leave recipe= out"),
        (["optim={'lr': 0.2}"], r"optim.lr \(was 0.3\) can't change"),
        (["viz.probes=[circle]"], r"viz.probes \(was \[\]\) can't change"),
        (["model=alexnet-7x7"], r"model=alexnet-7x7: the run in .* has model.conv1_size=11"),
    ):
        with pytest.raises(SettingsError, match=answer):
            open_run([resume, *arguments])
    again = ["recipe=report", "optim.lr=0.3", resume]  # as a sweep starts a trial again: its whole command
    assert open_run(again).settings.optim.lr == 0.3


@pytest.mark.parametrize("text", ["", "optim: {lr: [", "\x00"])
def test_where_config_yaml_is_damaged_the_checkpoint_holds_the_settings(text: str, tmp_path: Path) -> None:
    checkpoint = interrupted_run(tmp_path, "data=shapes", "optim.lr=0.3")
    torch.save({"settings": plain(load_settings(checkpoint.parents[1] / "config.yaml"))}, checkpoint)
    (checkpoint.parents[1] / "config.yaml").write_text(text)
    settings = open_run([f"resume={checkpoint}"]).settings
    assert (settings.data.name, settings.optim.lr) == ("shapes", 0.3)


def test_config_yaml_cut_off_anywhere_is_read_as_no_other_settings(tmp_path: Path) -> None:
    settings = parse(["data=shapes", "optim.lr=0.3", "trainer.max_epochs=3", "seed=7", "name=mine"])
    file = tmp_path / "config.yaml"
    save_settings(settings, file)
    whole = file.read_text()
    refused = 0
    for length in range(0, len(whole), 7):
        file.write_text(whole[:length])
        try:
            assert load_settings(file) == settings
        except SettingsError:
            refused += 1
    assert refused > len(whole) / 7 - 3, "nothing but the end of the last line can be missed"


@pytest.mark.parametrize("text", ["", "{", "[]", '{"epochs": 3', "\x00", "[" * 100_000])
def test_a_damaged_summary_is_none_and_damaged_figures_are_named(text: str, tmp_path: Path) -> None:
    (tmp_path / "summary.json").write_text(text)
    assert read_summary(tmp_path / "summary.json") is None
    (tmp_path / "metrics.csv").write_text("epoch,val/loss\n1,0.5\n2,no number\n")
    assert read_metrics(tmp_path) == []
    with pytest.raises(SettingsError, match=r"metrics.csv is damaged"):
        read_rows(tmp_path / "metrics.csv")


def test_resume_takes_the_settings_of_the_run(tmp_path: Path) -> None:
    checkpoint = interrupted_run(tmp_path, "data=shapes", "optim.lr=0.3", "trainer.max_epochs=3")
    for arguments in (
        [f"resume={checkpoint.parents[1]}"],
        [f"resume={checkpoint}"],
        ["data=shapes", f"runs={tmp_path}", "resume=last"],
    ):
        run = open_run(arguments)
        assert run.checkpoint == checkpoint
        assert (run.settings.data.name, run.settings.optim.lr, run.settings.trainer.max_epochs) == ("shapes", 0.3, 3)
        assert run.folder is None, "it is made, or taken, when the run begins"
    longer = open_run([f"resume={checkpoint}", "trainer.max_epochs=5", "data.root=/elsewhere", "logger=none"]).settings
    assert (longer.trainer.max_epochs, longer.data.root, longer.logger.name) == (5, "/elsewhere", "none")


@pytest.mark.parametrize(
    "argument", ["optim.lr=0.1", "seed=2", "model.dropout=0", "data.batch_size=8", "model=zfnet", "data=shapes"]
)
def test_what_decides_the_result_cant_change(argument: str, tmp_path: Path) -> None:
    checkpoint = interrupted_run(tmp_path)
    with pytest.raises(SettingsError) as caught:
        open_run([f"resume={checkpoint}", argument])
    assert argument.partition("=")[0] in str(caught.value)


def test_nothing_to_resume_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="no checkpoint in"):
        open_run([f"runs={tmp_path}", "resume=last"])
    with pytest.raises(SettingsError, match="there is no checkpoint"):
        open_run([f"resume={tmp_path}"])
    (tmp_path / "loose.ckpt").touch()
    with pytest.raises(SettingsError, match="not a run's folder"):
        open_run([f"resume={tmp_path / 'loose.ckpt'}"])


def test_an_older_runs_settings_are_answered_with_their_new_names(tmp_path: Path) -> None:
    checkpoint = interrupted_run(tmp_path)
    config = checkpoint.parents[1] / "config.yaml"
    config.write_text(config.read_text().replace("sensitivity: true", "answers: true"))
    for resume in (f"resume={checkpoint}", "resume=last"):
        with pytest.raises(SettingsError, match=rf"{config}: viz.answers is now called viz.sensitivity"):
            open_run([f"runs={tmp_path}", resume])


def test_a_run_that_has_ended_says_why_it_cant_be_resumed_and_what_to_do(tmp_path: Path) -> None:
    older = interrupted_run(tmp_path, "name=older", age=90)
    last = interrupted_run(tmp_path, "name=ended", age=50)
    folder = last.parents[1]
    (folder / "summary.json").write_text("{}")
    assert open_run([f"resume={folder}"]).checkpoint == last, "by trainer.keep=all, or killed at its very end"
    last.rename(last.with_name("weights.ckpt"))
    for path in (folder, last):
        with pytest.raises(
            SettingsError, match=rf"that run has ended, .*start anew .* with model.weights={folder} \("
        ) as caught:
            open_run([f"resume={path}", "trainer.max_epochs=99"])
        assert "trainer.keep=all" in str(caught.value)
    last.with_name("weights.ckpt").unlink()
    with pytest.raises(SettingsError, match=r"that run has ended, .*start anew without resume="):
        open_run([f"resume={folder}"])
    assert open_run([f"runs={tmp_path}", "resume=last"]).checkpoint == older, "the newest that can be resumed"
    older.unlink()
    with pytest.raises(SettingsError, match=r"no checkpoint in .* of a run that has not ended"):
        open_run([f"runs={tmp_path}", "resume=last"])


def test_the_command_line_is_kept_as_it_was_typed() -> None:
    assert open_run(["data=shapes", "viz.probes=[circle, star]"]).command == (
        "python train.py data=shapes 'viz.probes=[circle, star]'"
    )


def test_how_to_resume_depends_on_what_is_there(tmp_path: Path) -> None:
    assert "start it anew" in resume_hint(tmp_path)
    (tmp_path / "checkpoints").mkdir()
    (tmp_path / "checkpoints/last.ckpt").touch()
    assert resume_hint(tmp_path).endswith(f"resume with: python train.py resume={tmp_path}")
