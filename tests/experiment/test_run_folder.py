"""Where a run lives, how resume= finds it, and what is said about resuming it."""

import os
from pathlib import Path

import pytest

from configs import SettingsError
from configs.parser import parse, save_settings
from experiment.run_folder import new_folder, open_run, resume_hint


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


def test_resume_last_is_the_newest_of_that_name_only(tmp_path: Path) -> None:
    interrupted_run(tmp_path, age=50)
    newest = interrupted_run(tmp_path, age=10)
    interrupted_run(tmp_path, "seed=12")
    interrupted_run(tmp_path, "model=zfnet")
    assert open_run([f"runs={tmp_path}", "resume=last"]).checkpoint == newest
    assert newest.parts[-3] == "alexnet-caltech101-seed1-2"


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


def test_the_command_line_is_kept_as_it_was_typed() -> None:
    assert open_run(["data=shapes", "viz.probes=[circle, star]"]).command == (
        "python train.py data=shapes 'viz.probes=[circle, star]'"
    )


def test_how_to_resume_depends_on_what_is_there(tmp_path: Path) -> None:
    assert "start it anew" in resume_hint(tmp_path)
    (tmp_path / "checkpoints").mkdir()
    (tmp_path / "checkpoints/last.ckpt").touch()
    assert resume_hint(tmp_path).endswith(f"resume with: python train.py resume={tmp_path}")
