"""train.py as users start it: real processes on the generated data set."""

import csv
import json
import os
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from experiment.run_folder import read_rows
from experiment.visualization import load_run
from lightning_modules.checkpoints import load_network, read_checkpoint

ROOT = Path(__file__).parents[2]
pytestmark = pytest.mark.slow
SMALL = ["data=shapes", "data.image_size=67", "data.images_per_class=10", "data.batch_size=8", "logger=none",
         "viz.probes=[circle,star]", "trainer.max_epochs=3", "data.val_fraction=0.25", "data.train_sizes=[67,75]",
         "trainer.keep=all"]  # fmt: skip


def start(*arguments: str, largest_file: int = resource.RLIM_INFINITY) -> subprocess.Popen[str]:
    """A process of train.py, in a process group of its own as a terminal would give it."""

    def prepare() -> None:
        # A process that a script starts in the background ignores Ctrl-C, and so would those it starts.
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        resource.setrlimit(resource.RLIMIT_FSIZE, (largest_file, resource.RLIM_INFINITY))

    return subprocess.Popen(
        [sys.executable, str(ROOT / "train.py"), *arguments],
        cwd=ROOT,
        env=os.environ | {"PYTHONUNBUFFERED": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
        preexec_fn=prepare,
    )


def run(*arguments: str, largest_file: int = resource.RLIM_INFINITY) -> tuple[int, str]:
    process = start(*arguments, largest_file=largest_file)
    output, _ = process.communicate(timeout=300)
    return process.returncode, output


def wait_for(process: subprocess.Popen[str], file: Path) -> None:
    """Wait until the file is there, while the process lives."""
    for _ in range(2400):
        if file.exists():
            return
        if process.poll() is not None:
            raise AssertionError(f"ended with {process.returncode} before {file.name}: {process.communicate()[0]}")
        time.sleep(0.05)
    raise AssertionError(f"{file} did not come")


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """The folder and the output of a run that nothing interrupted."""
    runs = tmp_path_factory.mktemp("whole")
    status, output = run(*SMALL, f"runs={runs}", "name=run")
    assert status == 0, output
    return runs / "run", output


def test_a_run_leaves_everything_it_promises(whole: tuple[Path, str]) -> None:
    folder, output = whole
    assert set(os.listdir(folder)) == {
        "config.yaml", "metrics.csv", "curves.png", "confusion.csv", "confusion.png", "summary.json", "split", "checkpoints",
        "pictures", ".lock", "predictions.csv", "mistakes", "index.html",
    }  # fmt: skip
    assert set(os.listdir(folder / "checkpoints")) == {"last.ckpt", "best.ckpt"}
    assert set(os.listdir(folder / "split")) == {"train.txt", "val.txt", "test.txt"}
    assert len(list((folder / "pictures").rglob("epoch-003.jpg"))) == 1 + 2 + 2 * 5 + 2 + 5 + 2 + 1 + 1
    summary = json.loads((folder / "summary.json").read_text())
    rows = read_rows(folder / "metrics.csv")
    assert (summary["diverged"], summary["epochs"], len(rows)) == (False, 3, 3)
    assert summary["test/accuracy"] == rows[-1]["test/accuracy"]
    assert summary["version"]
    assert summary["command"].startswith("python train.py data=shapes")
    assert {f"final/{part}/{name}" for part in ("train", "test") for name in ("accuracy", "top5", "mean_per_class")} <= set(
        summary
    )
    assert summary["seconds"] > sum(row["seconds"] for row in rows)
    confusion = read_table(folder / "confusion.csv")
    tested = (folder / "split/test.txt").read_text().splitlines()
    assert sum(int(row["images"]) for row in confusion) == len(tested)
    predictions = read_table(folder / "predictions.csv")
    assert [row["file"] for row in predictions] == tested
    wrong = [number for number, row in enumerate(predictions, start=1) if row["true"] != row["predicted"]]
    assert 1 - len(wrong) / len(tested) == pytest.approx(summary["final/test/accuracy"])
    assert sorted(os.listdir(folder / "mistakes")) == [f"{number:05d}.webp" for number in wrong]
    assert f"Open {folder / 'index.html'}" in output
    page = (folder / "index.html").read_text()
    assert f"of {len(tested)} test images" in page
    assert 'src="pictures/' not in page
    for text in (
        "58,314,120",
        "generated shapes",
        "epoch 3/3 | train loss",
        "test images, in one view",
        "corners alone",
        str(folder),
    ):
        assert text in output
    assert "Traceback" not in output


def read_table(file: Path) -> list[dict[str, str]]:
    with file.open(newline="") as stream:
        return list(csv.DictReader(stream))


def test_what_a_run_recorded_can_be_kept(whole: tuple[Path, str], tmp_path: Path) -> None:
    for _ in range(2):  # the second time replaces the first
        arguments = [sys.executable, "-m", "tools.archive_run", str(whole[0]), str(tmp_path / "shapes")]
        subprocess.run(arguments, cwd=ROOT, check=True)
    (row,) = read_table(tmp_path / "runs.csv")
    summary = json.loads((whole[0] / "summary.json").read_text())
    assert (row["model"], row["recipe"], row["seed"], row["input_size"], row["epochs"]) == (
        "alexnet",
        "fast",
        "1",
        "67-75",
        "3",
    )
    assert float(row["test_top1"]) == pytest.approx(100 * summary["final/test/accuracy"], abs=0.01)
    assert float(row["train_top1"]) == pytest.approx(100 * summary["final/train/accuracy"], abs=0.01)
    assert row["command"].startswith("python train.py data=shapes")
    assert "runs: runs\n" in (tmp_path / "shapes/config.yaml").read_text()
    assert (tmp_path / "shapes/metrics.csv").read_bytes() == (whole[0] / "metrics.csv").read_bytes()


def test_what_a_run_shows_can_be_measured(whole: tuple[Path, str], tmp_path: Path) -> None:
    arguments = ["--per-class", "1", "--controlled", "2", "--out", str(tmp_path)]
    run = str(whole[0])
    subprocess.run([sys.executable, "-m", "tools.measure", run, "--versus", run, *arguments], cwd=ROOT, check=True)
    facts = json.loads((tmp_path / "measures.json").read_text())
    assert [len(network["images"][0]) for network in facts["networks"]] == [8, 8]
    numbers = facts["networks"][0]["numbers"]
    assert numbers == facts["networks"][1]["numbers"]
    assert numbers["detail/conv5"]["images"] == 8
    assert numbers["deletion/denet"]["images"] == 2
    assert {each["verdict"] for each in facts["claims"] if not each["claim"].startswith("DeNet")} == {"not decided"}
    table = (tmp_path / "measures.md").read_text()
    assert "## ZFNet captures more detail" in table

    file, out = str(tmp_path / "runs" / f"{whole[0].name}.json"), str(tmp_path / "from files")
    subprocess.run([sys.executable, "-m", "tools.measure", file, "--versus", file, "--out", out], cwd=ROOT, check=True)
    again = (tmp_path / "from files" / "measures.md").read_text()
    assert again.splitlines()[3:] == table.splitlines()[3:], "all but the command"


def test_the_checkpoint_is_safe_to_load_and_holds_the_settings(whole: tuple[Path, str]) -> None:
    checkpoint = read_checkpoint(whole[0] / "checkpoints" / "last.ckpt")
    assert checkpoint["settings"]["data"]["image_size"] == 67
    assert len(checkpoint["class_names"]) == 8
    network, class_names = load_network(whole[0] / "checkpoints" / "best.ckpt")
    assert network(torch.zeros(1, 3, 67, 67)).shape == (1, len(class_names))


def test_the_saved_settings_repeat_the_run(whole: tuple[Path, str], tmp_path: Path) -> None:
    status, output = run("--config", str(whole[0] / "config.yaml"), f"runs={tmp_path}", "name=again")
    assert status == 0, output
    assert_same_run(whole[0], tmp_path / "again")


@pytest.mark.parametrize("workers", [0, 2])
def test_kill_9_in_the_middle_of_an_epoch_then_resume_is_the_same_run(
    workers: int, whole: tuple[Path, str], tmp_path: Path
) -> None:
    process = start(*SMALL, f"runs={tmp_path}", "name=run", f"data.workers={workers}")
    wait_for(process, tmp_path / "run" / "checkpoints" / "last.ckpt")
    time.sleep(1)
    assert process.poll() is None, "it ended before it could be killed"
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
    assert process.returncode == -signal.SIGKILL
    finished = read_checkpoint(tmp_path / "run" / "checkpoints" / "last.ckpt")["epoch"] + 1
    assert finished < 3, "it was killed after its last epoch"
    folder, resume = tmp_path / "run", [*SMALL, f"runs={tmp_path}", "name=run", f"data.workers={workers}", "resume=last"]
    if workers == 0:  # the folder alone is enough, wherever it is now
        folder = (tmp_path / "run").rename(tmp_path / "brought from another machine")
        resume = [f"resume={folder}"]
    status, output = run(*resume)
    assert status == 0, output
    assert f"epoch {finished + 1}/3" in output
    assert f"epoch {finished}/3" not in output
    assert_same_run(whole[0], folder)
    assert not list(tmp_path.rglob("*.partial"))


def assert_same_run(folder: Path, other: Path) -> None:
    """The same figures, weights and pictures to the last bit; only times may differ."""
    for mine, theirs in zip(read_rows(folder / "metrics.csv"), read_rows(other / "metrics.csv"), strict=True):
        assert {k: v for k, v in mine.items() if "seconds" not in k} == {k: v for k, v in theirs.items() if "seconds" not in k}
    one, two = (read_checkpoint(each / "checkpoints" / "last.ckpt") for each in (folder, other))
    assert all(torch.equal(value, two["state_dict"][name]) for name, value in one["state_dict"].items())
    moments = [each["optimizer_states"][0]["state"] for each in (one, two)]
    for number, state in moments[0].items():
        assert all(torch.equal(value, moments[1][number][name]) for name, value in state.items())
    pictures = [
        {file.relative_to(each): file.read_bytes() for file in (each / "pictures").rglob("epoch-*")} for each in (folder, other)
    ]
    assert pictures[0] == pictures[1]


@pytest.mark.parametrize("sign", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2])
def test_ctrl_c_stops_cleanly_and_says_how_to_resume(sign: signal.Signals, tmp_path: Path) -> None:
    before = signal.signal(sign, signal.SIG_DFL)  # what the process inherits: after nohup SIGHUP would be ignored
    process = start(*SMALL, f"runs={tmp_path}", "name=run")
    signal.signal(sign, before)
    wait_for(process, tmp_path / "run" / "checkpoints" / "last.ckpt")
    process.send_signal(sign)
    output, _ = process.communicate(timeout=60)
    assert process.returncode == 130, output
    assert f"python train.py resume={tmp_path / 'run'}" in output
    assert "Traceback" not in output
    read_checkpoint(tmp_path / "run" / "checkpoints" / "last.ckpt")


def test_a_full_disk_is_one_line_and_loses_nothing(tmp_path: Path) -> None:
    """A limit on the size of files stands for it: pictures and figures fit, the checkpoint doesn't."""
    status, output = run(*SMALL, f"runs={tmp_path}", "name=run", largest_file=100_000_000)
    assert status == 1, output
    assert f"File too large: '{tmp_path / 'run/checkpoints'}" in output
    assert "start it anew" in output.splitlines()[-1]
    assert "Traceback" not in output
    assert len(read_rows(tmp_path / "run/metrics.csv")) == 1


def test_too_high_a_rate_stops_at_once_and_is_marked(tmp_path: Path) -> None:
    status, output = run(*SMALL, f"runs={tmp_path}", "name=run", "optim.lr=1000", "optim.clip=0", "optim.warmup_epochs=0")
    assert status == 1, output
    assert "Stopped: the training diverged, loss" in output
    assert "Traceback" not in output
    assert json.loads((tmp_path / "run" / "summary.json").read_text())["diverged"] is True


def test_a_finished_run_can_be_opened_again(whole: tuple[Path, str]) -> None:
    network, data = load_run(whole[0])
    assert not network.training
    assert sorted(data.files[i] for i in data.split.test) == sorted((whole[0] / "split/test.txt").read_text().split())
    assert network(data.normalise(data.images([0, 1]))).shape == (2, 8)


def test_under_a_wandb_agent_a_diverged_run_is_no_failure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB_SWEEP_ID", "abc")
    arguments = ("logger=none", f"runs={tmp_path}", "name=run", "optim={'lr': 1000, 'clip': 0}", "optim.warmup_epochs=0")
    status, output = run(*SMALL, *arguments)
    assert status == 0, output
    assert "Stopped: the training diverged, loss" in output


@pytest.mark.parametrize(
    ("arguments", "answer"),
    [
        (["optim.lrr=1"], "train.py: unknown setting optim.lrr; did you mean optim.lr?"),
        (["data=shapes", "data.split=per_class", "data.train_per_class=300"], "data.train_per_class=300: "),
        (["data=shapes", "data.image_size=67", "viz.probes=[hexagon]"], "viz.probes: "),
        (["data=shapes", "data.batch_size=100000"], "data.batch_size=100000: "),
        (["resume=nowhere"], "there is no checkpoint"),
    ],
)
def test_a_mistake_is_one_line_and_exit_status_2_and_leaves_nothing(arguments: list[str], answer: str, tmp_path: Path) -> None:
    status, output = run(*arguments, f"runs={tmp_path}", "logger=none")
    assert status == 2, output
    assert answer in output
    assert "Traceback" not in output
    assert len(output.strip().splitlines()) == 1, output
    assert not list(tmp_path.iterdir())


def test_archives_that_are_not_there_are_one_line_too(tmp_path: Path) -> None:
    status, output = run(
        "data.archives=" + str(tmp_path / "none"), f"data.root={tmp_path / 'data'}", f"runs={tmp_path / 'runs'}"
    )
    assert status == 2, output
    assert len(output.strip().splitlines()) == 1
    assert not (tmp_path / "runs").exists()
