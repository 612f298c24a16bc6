"""A sweep file is checked whole before anything starts: against the program, its settings and what its runs record."""

import csv
from collections.abc import Callable
from pathlib import Path

import pytest

from configs.parser import parse
from trials.check import check_sweep
from trials.metric_names import explain_unknown_metric, why_not_logged
from trials.mistakes import SweepFileError
from trials.sweep_file import read_sweep

ROOT = Path(__file__).parents[2]
Check = Callable[..., list[str]]


@pytest.fixture
def mistakes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Check:
    """What is said of a sweep file with this content, from the project's folder: each mistake after the file's name."""
    monkeypatch.chdir(ROOT)

    def check(text: str, *overrides: str) -> list[str]:
        file = tmp_path / "sweep.yaml"
        file.write_text(text)
        try:
            check_sweep(read_sweep(file), overrides)
        except SweepFileError as error:
            return [mistake.removeprefix(f"{file}, ") for mistake in error.mistakes]
        return []

    return check


WRONG = """
method: grid
metric: {name: val/acuracy, goal: maximize}
parameters:
  modle: {value: zfnet}
  model: {values: [alexnet, zfnett]}
  optim.lr:
    values:
      - 0.1
      - much
      - -1
  optim:
    parameters:
      momentm: {value: 0.9}
  trainer.max_epochs: {value: 2.5}
  data: {value: shapes}
  logger.group: {value: "lr: coarse"}
  resume: {value: last}
command: ["${interpreter}", "${program}", "${args_no_hyphens}", viz.probs=3]
"""


def test_each_value_is_read_as_train_py_reads_it(mistakes: Check) -> None:
    expected = {
        "line 3": "did you mean val/accuracy?", "line 19": "did you mean viz.probes?", "logger=nne": "choose one of",
        "line 5": "did you mean model?", "line 6": "model=zfnett: ", "line 10": "optim.lr=much",
        "line 11": "optim.lr=-1.0: it must be above 0", "line 14": "did you mean optim.momentum?",
        "line 15": "trainer.max_epochs=2.5", "line 18": "a run of its own",
    }  # fmt: skip
    found = mistakes(WRONG, "logger=nne")
    assert [mistake.partition(":")[0] for mistake in found] == list(expected)
    for mistake, said in zip(found, expected.values(), strict=True):
        assert said in mistake


SMALL = "method: grid\nparameters:\n  data: {value: shapes}\n"


def test_values_that_are_wrong_together_are_found(mistakes: Check) -> None:
    text = SMALL + "  model: {values: [alexnet, zfnet]}\n  model.streams: {values: [1, 2]}\n"
    assert mistakes(text) == ["line 2: parameters: model.streams=2: only AlexNet has two streams, not zfnet; leave it at 1"]
    assert mistakes(SMALL + "  model: {value: alexnet}\n  model.streams: {values: [1, 2]}\n") == []
    assert mistakes("method: grid\nparameters:\n  data: {value: folder}\n  data.root: {value: photos}\n") == []


@pytest.mark.parametrize("word", ["runs=elsewhere", "name=one", "resume=last"])
def test_what_the_sweep_itself_sets_is_refused(mistakes: Check, word: str) -> None:
    """It would be overruled without a word, and trials that differ in nothing else be the same training."""
    key, _, value = word.partition("=")
    said = f"{key}: each trial is a run of its own, which the sweep names; leave it out"
    assert mistakes(f"{SMALL}  {key}: {{values: [{value}, other]}}\n") == [f"line 4: {said}"]
    assert mistakes(SMALL, word) == [said]
    assert mistakes(f"{SMALL}command: ['${{interpreter}}', '${{program}}', '${{args}}', {word}]\n") == [
        f"line 4: command: {said}"
    ]


def test_a_program_that_is_written_out_is_checked_too(mistakes: Check) -> None:
    text = SMALL + "  optim.lrr: {value: 1}\ncommand: ['${interpreter}', train.py, '${args_no_hyphens}']\n"
    assert mistakes(text) == ["line 4: unknown setting optim.lrr; did you mean optim.lr?"]


def test_of_a_large_grid_trials_are_drawn(mistakes: Check, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("trials.check.WHOLE_TRIALS", 20)
    text = SMALL + "  seed: {min: 1, max: 40}\n  model: {values: [alexnet, zfnet]}\n  model.streams: {values: [1, 2]}\n"
    assert len(mistakes(text)) == 1


def test_numbers_of_a_distribution_are_tried(mistakes: Check) -> None:
    random = "method: random\nrun_cap: 3\nparameters:\n  data: {value: shapes}\n"
    assert mistakes(random + "  model.dropout: {min: 0.0, max: 1.0}\n") == []
    assert "line 5: model.dropout=" in mistakes(random + "  model.dropout: {min: 0.0, max: 2.0}\n")[0]
    assert "line 5: seed=" in mistakes(random + "  seed: {min: 0.0, max: 9.0}\n")[0]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("program: trian.py\n", ["line 4: program: there is no file trian.py; did you mean train.py?"]),
        (
            "program: nowhere/at/all.py\n",
            [f"line 4: program: there is no file nowhere/at/all.py; it is looked for from {ROOT}"],
        ),
        (
            "command: ['pythn3', '${program}', '${args}']\n",
            ["line 4: command: pythn3 can't be started: there is no such program"],
        ),
        ("command: ['${program}', '${heard}']\n", ["line 4: command: passes no parameter on: put ${args} after ${program}"]),
        (
            "command: ['${program}', '${args_no_hyphen}']\n",
            ["line 4: command: ${args_no_hyphen} is not known here; did you mean ${args_no_hyphens}?"],
        ),
        (
            "command: ['${interpreter}', '${program}', '${args_json}']\n",
            ["line 4: command: '{}' is not key=value; python train.py --help shows every key"],
        ),
    ],
)
def test_programs_and_commands_that_can_not_be_started(mistakes: Check, text: str, said: list[str]) -> None:
    assert mistakes(SMALL + text)[:1] == said


@pytest.mark.parametrize(
    ("metric", "setting", "said"),
    [
        ("val/loss", "data.val_fraction: {value: 0}", "without validation"),
        ("grid2/conv1", "viz.every_n_epochs: {value: 0}", "viz.metrics=false or viz.every_n_epochs=0"),
        ("clipped/conv1", "optim.filter_radius: {values: [0.1, 0]}", "without optim.filter_radius"),
        ("final/test/accuracy", "data.val_fraction: {value: 0}", None),
        ("grid2/conv1", "viz.every_n_epochs: {value: 1}", None),
    ],
)
def test_a_metric_is_one_that_these_runs_record(mistakes: Check, metric: str, setting: str, said: str | None) -> None:
    found = mistakes(f"{SMALL}  {setting}\nmetric: {{name: {metric}, goal: maximize}}\n")
    assert len(found) == (said is not None)
    assert said is None or said in found[0]


def test_what_trainings_have_recorded_are_metrics() -> None:
    recorded = set()
    for file in ROOT.glob("results/*/metrics.csv"):
        with file.open() as stream:
            recorded |= set(next(csv.reader(stream)))
    assert len(recorded) > 90
    assert [name for name in recorded if explain_unknown_metric(name)] == []
    assert [name for name in recorded if why_not_logged(name, parse([]))] == []


def test_the_projects_own_sweeps_pass(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    for file in sorted(ROOT.glob("sweeps/*.yaml")):
        check_sweep(read_sweep(file), ["logger=none"])
