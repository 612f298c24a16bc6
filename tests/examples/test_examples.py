import os
import re
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient
from PIL import Image

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def blocks(language: str) -> list[str]:
    """The README's code blocks in a language."""
    return re.findall(rf"^```{language}\n(.*?)^```$", README, flags=re.MULTILINE | re.DOTALL)


@pytest.mark.slow
def test_your_own_network_writes_a_picture(tmp_path: Path) -> None:
    program = ROOT / "examples/your_own_network.py"
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    subprocess.run([sys.executable, program, "--untrained"], cwd=tmp_path, env=environment, check=True, timeout=120)
    for name, tiles in (("inside", 11), ("layer", 2), ("maps", 10), ("tabby", 2)):  # eight layers, DeNet twice and the image
        with Image.open(tmp_path / f"{name}.png") as picture:
            assert tiles * 224 < picture.width < (tiles + 1) * 224
            assert picture.height > 224
            assert len(picture.convert("RGB").getcolors(maxcolors=1 << 24) or []) > 1000


@pytest.mark.slow
def test_the_notebook_runs_and_shows_its_outputs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    notebook = nbformat.read(ROOT / "examples/look_inside.ipynb", 4)  # type: ignore[no-untyped-call]  # it ships no types
    shown = [cell.source for cell in notebook.cells if cell.cell_type == "code" and cell.outputs]
    assert sum("image/" in str(cell.get("outputs")) for cell in notebook.cells) == 5, "it is kept with its pictures"
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    NotebookClient(notebook, timeout=200, kernel_name="python3", resources={"metadata": {"path": str(tmp_path)}}).execute()
    assert [cell.source for cell in notebook.cells if cell.cell_type == "code" and cell.outputs] == shown
    printed = "".join(output.get("text", "") for cell in notebook.cells for output in cell.get("outputs", []))
    accuracy = re.search(r"Accuracy on the validation images: ([\d.]+)%", printed)
    assert accuracy
    assert float(accuracy[1]) > 90


def test_the_readme_shows_the_lines_of_the_example() -> None:
    (block,) = blocks("python")
    program = (ROOT / "examples/your_own_network.py").read_text(encoding="utf-8")
    imports, core = block.split("\n\n")
    assert imports in program
    assert program.endswith(core)
    assert len(imports.splitlines()) + len(core.splitlines()) <= 12


def test_the_readme_begins_with_the_commands_that_ci_runs() -> None:
    training, tests = blocks("bash")[:2]
    assert training == "pip install -e '.[train]' && python train.py model=alexnet data=shapes\n"
    assert tests == "pip install -e '.[test]' && python -m pytest -n logical\n"


def test_the_readme_is_short() -> None:
    assert len(README.split()) < 900
    assert [line for line in README.splitlines() if len(line) >= 100] == []
