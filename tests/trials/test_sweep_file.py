"""Sweep files: what is read from them, what is refused and on which line, and the project's own."""

import os
import sys
from pathlib import Path

import pytest
import yaml
from wandb.sdk.launch.sweeps.utils import create_sweep_command, create_sweep_command_args

from configs import SettingsError
from configs.parser import parse
from trials.command import trial_command, write_arguments
from trials.mistakes import SweepFileError
from trials.parameters import Choice
from trials.sweep_file import read_sweep

OWN = sorted((Path(__file__).parents[2] / "sweeps").glob("*.yaml"))


def written(folder: Path, text: str) -> Path:
    file = folder / "sweep.yaml"
    file.write_text(text)
    return file


def test_a_whole_file(tmp_path: Path) -> None:
    sweep = read_sweep(
        written(
            tmp_path,
            """
program: train.py
name: all of it
method: bayes
run_cap: 7
metric: {name: val/loss, goal: minimize, target: 0.1}
parameters:
  seed: {value: 3}
  optim:
    parameters:
      lr: {distribution: log_uniform_values, min: 0.001, max: 0.1}
early_terminate: {type: hyperband, max_iter: 27, s: 2, eta: 3}
""",
        )
    )
    assert (sweep.name, sweep.method, sweep.run_cap, sweep.hyperband) == ("all of it", "bayes", 7, (3, 3))
    assert (sweep.metric.name, sweep.metric.maximize, sweep.metric.target) == ("val/loss", False, 0.1)
    assert list(sweep.parameters) == ["seed", "optim.lr"]
    assert sweep.varied == ["optim.lr"]


@pytest.mark.parametrize(
    ("text", "line", "message"),
    [
        ("method: grid\nparameters:\n  a: {value: 1}\nscheduler: {}\n", 4, "scheduler: not known here"),
        ("method: guess\nparameters: {a: {value: 1}}\n", 1, "guess is none; known are grid, random, bayes"),
        ("method: grd\nparameters: {a: {value: 1}}\n", 1, "did you mean grid"),
        ("method: random\nparameters:\n  a: {min: 0, max: 3}\n", 1, "add run_cap"),
        ("method: grid\nparameters:\n  b: {value: 1}\n  a: {min: 0.0, max: 3.0}\n", 4, "a grid needs values"),
        ("method: grid\nparameters:\n  a: 3\n", 3, "write value: or values:"),
        (
            "method: grid\nparameters:\n  a: {value: 1}\nearly_terminate:\n  type: hyperband\n  strict: true\n",
            6,
            "strict: not done here",
        ),
        (
            "method: grid\nparameters:\n  a: {value: 1}\nearly_terminate:\n  type: hyperband\n  min_inter: 3\n",
            6,
            "min_inter: not known here",
        ),
        (
            "method: grid\nparameters:\n  a: {value: 1}\nearly_terminate:\n  type: hyperband\n  min_iter: some\n",
            6,
            "a whole number from 1",
        ),
        (
            "method: grid\nparameters:\n  a: {value: 1}\nearly_terminate: {type: hyperband, min_iter: 1, max_iter: 9, s: 2}\n",
            4,
            "needs min_iter, or max_iter and s",
        ),
        ("method: grid\nmetric:\n  name: x\n  target: much\nparameters: {a: {value: 1}}\n", 4, "much is no number"),
        ("method: grid\nmetric:\n  name: x\n  goal: higher\nparameters: {a: {value: 1}}\n", 4, "minimize, maximize"),
        ("parameters: {a: {value: 1}}\n", 1, "method is missing"),
        ("method: grid\n", 1, "parameters is missing"),
        ("parameters: {a: {value: 1}}\nmetod: grid\n", 2, "did you mean method"),
        ("method: grid\nparameters:\n  010: {value: 1}\n", 3, "8: a parameter's name is a text"),
        ("method: grid\nparameters:\n  optim:\n    parameters:\n      yes: {value: 1}\n", 5, "a parameter's name is a text"),
        ("method: grid\nparameters:\n  a.b: {value: 1}\n  a:\n    parameters:\n      b: {value: 1}\n", 6, "a.b is there twice"),
        ("method: grid\nrun_cap: true\nparameters: {a: {value: 1}}\n", 2, "run_cap: must be a whole number"),
        ("method: grid\nparameters: {a: {value: 1}}\nname: ''\n", 3, "name: must be a text, which is not empty"),
        ("method: grid\nparameters: {a: {value: 1}}\nname: ' '\n", 3, "name: must be a text, which is not empty"),
        ("method: grid\nparameters: {a: {value: 1}}\ncommand: python train.py\n", 3, "command: must be a list"),
        ("method: grid\nparameters: {a: {value: 1}}\ncommand: []\n", 3, "command: must be a list"),
        ("method: grid\nparameters: {a: {value: 1}}\ncommand: ['${interpreter}', '${args}']\n", 3, "names no program"),
        ("method: grid\nparameters: {a: {value: 1}}\ncommand: ['${args}', '${program}']\n", 3, "names no program"),
        ("method: grid\nparameters: {a: {value: 1}}\ncommand: ['${program}', a=1]\n", 3, "passes no parameter on"),
        ("method: grid\nparameters:\n  '': {value: 1}\n", 3, "a parameter's name is a text"),
        ("method: grid\nparameters:\n  a: {vlaues: [1]}\n", 3, "did you mean values"),
        ("method: grid\nparameters:\n  a: {distribution: unifrom}\n", 3, "did you mean uniform"),
        (
            "method: grid\nmetric: {nmae: x, name: x}\nparameters: {a: {value: 1}}\n",
            2,
            "nmae: not known here; did you mean name",
        ),
        ("method: grid\nmetric: {name: x, goal: maximise}\nparameters: {a: {value: 1}}\n", 2, "did you mean maximize"),
        ("method: grid\nparameters:\n  a: {value: !x 1}\n", 3, "the tag !x is not read"),
        ("method: grid\nparameters:\n  a: {value: &x 1}\n", 3, "anchors and aliases"),
        ('method: grid\nparameters:\n  a:\n    value: "\\x07"\n', 4, "holds the character"),
    ],
)
def test_mistakes_are_refused_with_their_line(tmp_path: Path, text: str, line: int, message: str) -> None:
    with pytest.raises(SettingsError, match=f"line {line}: .*{message}"):
        read_sweep(written(tmp_path, text))


def test_all_mistakes_are_said_each_with_its_line(tmp_path: Path) -> None:
    text = """
method: grid
name: [a]
metric: {name: x, goal: up}
parameters:
  a: 3
  b: {values: []}
  c: {value: 1}
  d:
    parameters:
      e: {min: 2.0, max: 1.0}
early_terminate: {type: other}
command: []
"""
    with pytest.raises(SweepFileError) as caught:
        read_sweep(written(tmp_path, text))
    assert [mistake.partition(": ")[0].rpartition(" ")[2] for mistake in caught.value.mistakes] == [
        "6", "7", "11", "3", "4", "13", "12",
    ]  # fmt: skip


def test_what_is_no_yaml_is_refused_in_one_line(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="not valid YAML") as caught:
        read_sweep(written(tmp_path, "method: [grid\nx: {"))
    assert "\n" not in str(caught.value)
    with pytest.raises(SettingsError, match="can't be read: No such file"):
        read_sweep(tmp_path / "nowhere.yaml")


@pytest.mark.parametrize(
    ("text", "line", "key", "first"),
    [
        ("method: grid\nparameters: {a: {value: 1}}\nmethod: random\n", 3, "method", 1),
        ("method: grid\nparameters:\n  a: {value: 1}\n  b: {value: 1}\n  a: {value: 2}\n", 5, "a", 3),
        ("method: grid\nparameters:\n  a:\n    value: 1\n    value: 2\n", 5, "value", 4),
        ("method: grid\nparameters: {a: {value: 1}, 'a': {value: 2}}\n", 2, "a", 2),
    ],
)
def test_a_key_that_is_there_twice_is_refused_with_its_line(tmp_path: Path, text: str, line: int, key: str, first: int) -> None:
    file = written(tmp_path, text)
    with pytest.raises(SettingsError) as caught:
        read_sweep(file)
    assert str(caught.value) == f"{file} is not valid YAML: line {line}: {key} is there already, in line {first}; leave one out"


@pytest.mark.parametrize(
    "macro",
    [
        "args",
        "args_no_hyphens",
        "args_no_equals",
        "args_no_boolean_flags",
        "args_json",
        "args_append_hydra",
        "args_override_hydra",
    ],
)
def test_commands_are_those_of_wandbs_own_agent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, macro: str) -> None:
    monkeypatch.setenv("WHERE", "there")
    command = ["${env}", "${interpreter}", "${program}", f"${{{macro}}}", "--at=${envvar:WHERE}"]
    text = yaml.safe_dump({"program": "train.py", "method": "grid", "parameters": {"a": {"value": 1}}, "command": command})
    values = {"optim.lr": 1e-5, "model": "zfnet", "data.flip": True, "viz.sensitivity": False, "data.image_size": None}
    found = trial_command(read_sweep(written(tmp_path, text)), values, tmp_path)
    theirs = create_sweep_command_args({"args": {key: {"value": value} for key, value in values.items()}})
    last = create_sweep_command(["--at=${envvar:WHERE}"])
    assert found == ["/usr/bin/env", sys.executable, "train.py", *theirs[macro], *last]


def test_arguments_may_come_in_a_file_and_unknown_macros_are_refused(tmp_path: Path) -> None:
    text = "method: grid\nparameters: {a: {value: 1}}\ncommand: ['${program}', %s]\n"
    sweep = read_sweep(written(tmp_path, text % "'${args_json_file}'"))
    (_, file) = trial_command(sweep, {"a": 1}, tmp_path / "trial-000.json")
    assert not Path(file).exists(), "a command can be shown without a trace"
    write_arguments(sweep, {"a": 1}, Path(file))
    assert yaml.safe_load(Path(file).read_text()) == {"a": 1}
    for macro, message in (("${unheard}", "not known"), ("${envvar:UNSET_HERE}", "is not set")):
        with pytest.raises(SettingsError, match=message):
            trial_command(read_sweep(written(tmp_path, text % f"'{macro}', '${{args}}'")), {"a": 1}, tmp_path)


@pytest.mark.parametrize("file", OWN, ids=[file.stem for file in OWN])
def test_the_projects_own_sweeps_can_be_run(file: Path, tmp_path: Path) -> None:
    sweep = read_sweep(file)
    first = {key: own.values[0] for key, own in sweep.parameters.items() if isinstance(own, Choice)}
    assert first.keys() == sweep.parameters.keys()
    env, _, program, *arguments = trial_command(sweep, first, tmp_path)
    assert (os.path.basename(env), program) == ("env", "train.py")
    parse(arguments)  # train.py understands each
    for key, own in sweep.parameters.items():
        assert isinstance(own, Choice)
        for value in own.values:
            parse([f"{key}={value}"])
    head = file.read_text().split("program:")[0]
    assert f"python sweep.py sweeps/{file.name}" in head
    assert f"wandb sweep sweeps/{file.name}" in head
