"""What somebody gets who installs the wheel beside a project of their own."""

import shutil
import subprocess
import sys
import sysconfig
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FILES = sorted(file.relative_to(ROOT) for file in (ROOT / "viz_callbacks").rglob("*.py"))
MODULES = [".".join(file.with_suffix("").parts).removesuffix(".__init__") for file in FILES]
pytestmark = pytest.mark.slow


def run(*command: str | Path, cwd: Path) -> str:
    done = subprocess.run(command, cwd=cwd, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    assert done.returncode == 0, done.stdout
    return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built from a copy, as a build leaves folders beside its source."""
    folder = tmp_path_factory.mktemp("wheel")
    left_out = (".*", "__pycache__", "*.egg-info", "build", "data", "results", "runs", "site")
    shutil.copytree(ROOT, folder / "source", ignore=shutil.ignore_patterns(*left_out))
    pip = (sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-index", "--no-build-isolation")
    run(*pip, "--wheel-dir", folder, folder / "source", cwd=folder)
    (found,) = folder.glob("*.whl")
    return found


def test_it_holds_the_library_alone(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    (metadata,) = {name.partition("/")[0] for name in names} - {"viz_callbacks"}
    assert metadata.endswith(".dist-info")
    assert "viz_callbacks/py.typed" in names
    assert {str(file) for file in FILES} <= set(names)


def test_it_needs_what_the_library_imports_and_no_more(wheel: Path) -> None:
    metadata = next(name for name in zipfile.ZipFile(wheel).namelist() if name.endswith("/METADATA"))
    lines = zipfile.ZipFile(wheel).read(metadata).decode().splitlines()
    needs = [line.removeprefix("Requires-Dist: ") for line in lines if line.startswith("Requires-Dist: ")]
    names = {need.replace(">", " ").replace("<", " ").split()[0] for need in needs if "extra ==" not in need}
    assert names == {"torch", "torchmetrics", "lightning", "matplotlib", "pillow", "numpy"}


def test_it_works_in_a_project_with_a_configs_package_of_its_own(wheel: Path, tmp_path: Path) -> None:
    """A new environment sees this one's libraries, so that torch isn't installed once more, but not this checkout."""
    run(sys.executable, "-m", "venv", "--without-pip", tmp_path / "venv", cwd=tmp_path)
    python = tmp_path / "venv/bin/python"
    target = Path(run(python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))", cwd=tmp_path).strip())
    run(sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-index", "--target", target, wheel, cwd=tmp_path)
    # A path in a .pth file is searched last, and the .pth files in it, such as that of an editable install, are not read.
    (target / "libraries.pth").write_text(sysconfig.get_path("purelib"))
    project = tmp_path / "project"
    (project / "configs").mkdir(parents=True)
    (project / "configs/__init__.py").write_text("OWN = True\n")
    program = f"import configs, {', '.join(MODULES)}; print(configs.OWN, viz_callbacks.__file__)"
    own, file = run(python, "-E", "-c", program, cwd=project).split()
    assert (own, Path(file)) == ("True", target / "viz_callbacks/__init__.py")
    for name in ("datamodules", "experiment", "lightning_modules", "trials", "tools"):
        missing = subprocess.run([python, "-E", "-c", f"import {name}"], cwd=project, stderr=subprocess.PIPE, text=True)
        assert "ModuleNotFoundError" in missing.stderr, f"{name} is installed"
