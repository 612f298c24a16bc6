"""Whatever is typed or written into a sweep file is understood, or answered in one line; nothing is left behind."""

import os
from pathlib import Path

import pytest
from hypothesis import given

from configs import SettingsError
from configs.settings import LONGEST_MESSAGE
from experiment.distributed import trainer_options
from experiment.run import check_image_sizes
from experiment.run_folder import open_run
from tests.faults.random_input import command_lines, sweep_files, tries
from trials.command import trial_command
from trials.parameters import Number
from trials.sweep_file import folder_name, read_sweep


def assert_one_line(mistake: SettingsError) -> None:
    assert str(mistake).isprintable()
    assert 0 < len(str(mistake)) < LONGEST_MESSAGE + 10


@pytest.mark.slow
@tries(2000)
@given(arguments=command_lines)
def test_any_command_line_is_a_run_or_one_line(arguments: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    try:
        run = open_run(arguments)
        trainer_options(run.settings, "32-true")
        check_image_sizes(run.settings)
    except SettingsError as mistake:
        assert_one_line(mistake)
    assert os.listdir(tmp_path) == []


@pytest.mark.slow
@tries(600)
@given(text=sweep_files())
def test_any_sweep_file_is_a_sweep_or_one_line(text: str, tmp_path: Path) -> None:
    file = tmp_path / "sweep.yaml"
    file.write_bytes(text.encode(errors="surrogateescape"))
    try:
        sweep = read_sweep(file)
        values = {key: each.at(0.5) if isinstance(each, Number) else each.values[0] for key, each in sweep.parameters.items()}
        trial_command(sweep, values, tmp_path / "trial")
        (tmp_path / folder_name(sweep.name)).mkdir(exist_ok=True)
    except SettingsError as mistake:
        assert_one_line(mistake)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("method: grid\nparameters: {a: {min: 0, max: 1000000000}}", "a grid of 1000000001 values"),
        ("method: grid\nparameters: {a: {min: 0, max: 999}, b: {min: 0, max: 999}}", "a grid of 1000000 trials"),
        ("method: grid\nparameters: {a: {distribution: q_uniform, min: 0, max: 1, q: 1.0e-300}}", "a grid of"),
        ("method: random\nrun_cap: 1\nparameters: {a: {min: 0, max: 1, q: [1], distribution: q_uniform}}", "can't be used"),
        ("method: random\nrun_cap: 1\nparameters: {a: {min: 0, max: .inf, distribution: uniform}}", "max: inf is no number"),
        ("method: random\nrun_cap: 1\nparameters: {a: {distribution: beta, a: -1, b: 1}}", "no numbers between these bounds"),
        ("method: random\nrun_cap: 1\nparameters: {a: {values: [1], probabilities: 3}}", "must be a list of numbers"),
        ("method: random\nrun_cap: true\nparameters: {a: {value: 1}}", "run_cap: must be a whole number"),
        ("method: grid\nparameters: {a: {parameters: 3}}", "needs at least one parameter"),
        ("method: grid\nparameters: {a: {value: 1}}\ncommand: 3", "command: must be a list of words"),
        ("method: grid\nparameters: {a: {value: 1}}\nname: [a]", "name: must be a text"),
        (
            "method: grid\nparameters: {a: {value: 1}}\nearly_terminate: {type: hyperband, max_iter: 9, s: 1000000}",
            "from 1 to 100",
        ),
        ("method: grid\nparameters: &a {a: *a}", "anchors and aliases"),
        ("\xff", "it is no sweep"),
    ],
)
def test_what_a_sweep_file_cant_be(text: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "sweep.yaml").write_text(text)
    with pytest.raises(SettingsError) as caught:
        read_sweep(tmp_path / "sweep.yaml")
    assert message in str(caught.value) or message == "it is no sweep"
    assert_one_line(caught.value)


def test_a_long_name_is_a_folder_too(tmp_path: Path) -> None:
    (tmp_path / folder_name("😀é" * 500)).mkdir()


def test_layers_that_leave_nothing_of_an_image_are_refused_before_anything_is_read() -> None:
    small = ["data=shapes", "data.image_size=67", "data.train_sizes=[67]", "model.conv1_size=31", "model.conv1_stride=8"]
    with pytest.raises(SettingsError, match=r"model.conv1_stride=8: images of 67 pixels are too small"):
        check_image_sizes(open_run(small).settings)
    check_image_sizes(open_run(["model=zfnet", "data.image_size=67", "data.train_sizes=[1024]"]).settings)
    check_image_sizes(open_run(["model.pooling=l2", "data.image_size=null", "data.train_sizes=[]"]).settings)
