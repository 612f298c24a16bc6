"""How the project is built, as rules that are read from its source. ``docs/architecture.md`` says what each package is for."""

import json
import subprocess
import sys
from graphlib import TopologicalSorter

import pytest

from tests.source_tree import ROOT, Source, SourceTree

# What a package or program may import of this project besides itself. Top to bottom, each line knows only lines above it.
MAY_IMPORT: dict[str, tuple[str, ...]] = {
    "configs": (),
    # The library. It knows nothing of the project around it, and is all that a wheel installs.
    "viz_callbacks.engine": (),
    "viz_callbacks.methods": ("viz_callbacks.engine",),
    "viz_callbacks.metrics": ("viz_callbacks.engine", "viz_callbacks.methods"),
    "viz_callbacks.drawing": (),
    "viz_callbacks.lens": ("viz_callbacks.engine", "viz_callbacks.methods", "viz_callbacks.drawing"),
    "viz_callbacks.callbacks": (
        "viz_callbacks.engine", "viz_callbacks.methods", "viz_callbacks.metrics", "viz_callbacks.drawing",
        "viz_callbacks.lens",
    ),
    "viz_callbacks": ("viz_callbacks.lens", "viz_callbacks.callbacks"),
    # Images, networks, and one run of a network on images.
    "datamodules": ("configs", "viz_callbacks.lens.image_files"),
    "lightning_modules": ("configs",),
    # A page shows what a run left on disk, wherever that is: it needs neither network nor data set.
    "pages": ("configs",),
    "experiment": ("configs", "datamodules", "lightning_modules", "viz_callbacks", "pages"),
    # Many runs. A trial is a process of its own, known by what its run leaves on disk.
    "trials": ("configs", "experiment.run_folder", "viz_callbacks.drawing.palette"),
    # What people start.
    "train": ("configs", "datamodules", "lightning_modules", "experiment", "viz_callbacks"),
    "sweep": ("configs", "trials", "pages"),
    "page": ("configs", "pages", "experiment"),
    "look": ("configs", "experiment"),
    "tools": ("configs", "datamodules", "lightning_modules", "experiment", "viz_callbacks"),
    "benchmarks": ("configs", "datamodules", "lightning_modules", "experiment", "viz_callbacks", "pages"),
    "examples": ("viz_callbacks",),
}  # fmt: skip

# The only libraries, besides Python's own, that these packages may import: methods and metrics can be used without Lightning,
# and nothing can be drawn or logged by them.
LIBRARIES = {
    "configs": {"omegaconf", "yaml"},
    "pages": {"altair", "jinja2", "markupsafe", "numpy", "PIL", "scipy", "vl_convert", "yaml"},
    "viz_callbacks.engine": {"torch", "numpy"},
    "viz_callbacks.methods": {"torch", "numpy"},
    "viz_callbacks.metrics": {"torch", "numpy", "torchmetrics"},
    "viz_callbacks.drawing": {"torch", "numpy", "matplotlib", "PIL"},
    "viz_callbacks.lens": {"torch", "numpy", "PIL"},
    "viz_callbacks.callbacks": {"torch", "numpy", "torchmetrics", "lightning", "PIL", "wandb"},
}
# Not for packages that compute: the ways to files.
COMPUTING = ("viz_callbacks.engine", "viz_callbacks.methods", "viz_callbacks.metrics")
FILES = {"io", "os", "pathlib", "shutil", "tempfile", "open", "torch.save", "torch.load"}

# Private names of other libraries: where each is used, and why no public one will do. The libraries have upper bounds in
# pyproject.toml.
PRIVATE_NAMES = {
    ("experiment/distributed.py", "_signal_connector"): "Lightning's own answer to SIGTERM hangs, and has no switch",
    ("experiment/distributed.py", "_broadcast_sigterm_tensor"): "nor has its message about it before each batch",
    ("experiment/distributed.py", "_SubprocessScriptLauncher"): "it alone knows the processes that Lightning has started",
    ("trials/study.py", "_trial_id"): "Optuna has no public way to a running trial that another process asked for",
}

# Where any exception is caught, and why it can't be named.
CATCHES_ALL = {
    "experiment/wandb_service.py": "what W&B raises in a thread is raised again where it was asked",
    "experiment/wandb_mirror.py": "W&B raises anything, and nothing that it raises may end a training",
    "experiment/tensorboard_mirror.py": "TensorBoard raises anything too",
    "tools/workspace.py": "W&B raises anything, and it is one line",
    "configs/files.py": "removes a half-written file and raises the error again",
    "experiment/output.py": "removes the folder of a run that can't be set up and raises the error again",
    "train.py": "keeps the traceback of a fault of this project, whatever it is, in the run's folder",
    "viz_callbacks/engine/tracing.py": "a part of a foreign network is followed, whose forward may raise anything",
    "viz_callbacks/engine/graph.py": "a foreign network's forward is followed, which may raise anything",
}

# Where options of any name are passed on, and to what.
PASSES_OPTIONS_ON = {
    "viz_callbacks/metrics/": "torchmetrics.Metric's own options",
    "experiment/tensorboard_mirror.py": "nowhere: a method of Lightning's loggers has them, and does nothing here",
    "experiment/wandb_mirror.py": "nowhere: a method of Lightning's loggers has them, and does nothing here",
}

TREE = SourceTree(*(name if (ROOT / name).is_dir() else f"{name}.py" for name in {key.partition(".")[0] for key in MAY_IMPORT}))


def belongs(module: str, package: str) -> bool:
    return module == package or module.startswith(f"{package}.")


def package_of(source: Source) -> str | None:
    """The line of MAY_IMPORT that a file belongs to. None for ``viz_callbacks/__init__.py``, which imports nothing."""
    return next((package for package in MAY_IMPORT if belongs(source.module, package)), None)


def test_each_package_imports_only_what_lies_below_it() -> None:
    upward = set()
    for source in TREE.sources:
        package = package_of(source)
        allowed = (package, *MAY_IMPORT[package]) if package else ()
        imported = {name for name in TREE.own_imports(source) if not any(belongs(name, below) for below in allowed)}
        upward |= {(source.file, name) for name in imported}
    assert upward == set()


def test_the_table_of_imports_runs_downwards() -> None:
    packages = [package for package in MAY_IMPORT if package != "viz_callbacks"]  # the names that it lends from its parts
    for position, package in enumerate(packages):
        for name in MAY_IMPORT[package]:
            meant = [number for number, other in enumerate(packages) if belongs(other, name) or belongs(name, other)]
            assert meant, f"{name} is no package"
            assert max(meant) < position, f"{package} -> {name}"


def test_no_modules_import_each_other_in_a_circle() -> None:
    graph = {source.module: TREE.own_imports(source) - {source.module} for source in TREE.sources}
    TopologicalSorter(graph).prepare()  # raises CycleError with the circle


def test_libraries_are_known_only_where_they_belong() -> None:
    strange = set()
    for source in TREE.sources:
        if (package := package_of(source)) in LIBRARIES:
            libraries = {name.partition(".")[0] for name in TREE.imports(source) - TREE.modules}
            strange |= {(source.file, name) for name in libraries - sys.stdlib_module_names - LIBRARIES[package]}
    assert strange == set()


def test_what_computes_knows_no_files() -> None:
    files = set()
    for source in TREE.sources:
        if package_of(source) in COMPUTING:
            names = {name.partition(".")[0] for name in TREE.imports(source)} | {name for name, _ in source.calls()}
            files |= {(source.file, name) for name in names & FILES}
    assert files == set()


def loaded_by(*modules: str) -> set[str]:
    """The top-level modules that a new Python in the project's folder has loaded once it has imported some."""
    program = f"import json, sys, {', '.join(modules)}; print(json.dumps(list(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return {name.partition(".")[0] for name in json.loads(done.stdout)}


@pytest.mark.slow
def test_methods_can_be_used_without_lightning_or_matplotlib() -> None:
    loaded = loaded_by(*(module for module in TREE.modules if belongs(module, "viz_callbacks.methods")))
    assert "torch" in loaded
    assert not loaded & {"lightning", "pytorch_lightning", "matplotlib", "torchmetrics", "PIL", "wandb"}


@pytest.mark.slow
def test_metrics_can_be_used_without_lightning() -> None:
    loaded = loaded_by(*(module for module in TREE.modules if belongs(module, "viz_callbacks.metrics")))
    assert "torchmetrics" in loaded
    assert not loaded & {"lightning", "pytorch_lightning", "wandb"}


def test_a_command_line_is_read_before_torch_is_loaded() -> None:
    loaded = loaded_by("train", "experiment.run_folder", "configs.parser")
    assert "omegaconf" in loaded
    assert not loaded & {"torch", "lightning", "numpy", "matplotlib", "wandb"}


def test_private_names_are_used_only_where_they_are_defined() -> None:
    used = {(source.file, name) for source in TREE.sources for name in TREE.borrowed_private_names(source)}
    assert used - PRIVATE_NAMES.keys() == set(), "find a public way, or list it with the reason"
    assert PRIVATE_NAMES.keys() - used == set(), "no longer used: take it from the list"


def test_exceptions_are_caught_by_name() -> None:
    catching = {source.file for source in TREE.sources if source.catches_all()}
    assert catching - CATCHES_ALL.keys() == set(), "name the exceptions, or list the file with the reason"
    assert CATCHES_ALL.keys() - catching == set(), "no longer so: take it from the list"


def test_options_are_spelled_out() -> None:
    unseen = {(source.file, name) for source in TREE.sources for name in source.unseen_options()}
    assert {(file, name) for file, name in unseen if not file.startswith(tuple(PASSES_OPTIONS_ON))} == set()


def test_the_path_of_imports_is_left_alone() -> None:
    changing = {(source.file, line) for source in TREE.sources for name, line in source.calls() if name.startswith("sys.path.")}
    assert changing == set()
