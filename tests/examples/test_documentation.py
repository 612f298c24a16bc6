"""The documentation holds what it says: links lead somewhere, names and settings exist."""

import importlib
import importlib.util
import re
from pathlib import Path

import pytest

from configs.parser import preset_names
from configs.settings import fields

ROOT = Path(__file__).parents[2]
PAGES = sorted([ROOT / "README.md", *ROOT.glob("docs/**/*.md"), *ROOT.glob("results/**/*.md")])
TEXTS = {page.relative_to(ROOT).as_posix(): page.read_text(encoding="utf-8") for page in PAGES}
GUIDES = {name: text for name, text in TEXTS.items() if not name.startswith("results/")}  # those tell what was once measured


FOLDERS = (
    "benchmarks|configs|datamodules|docs|examples|experiment|lightning_modules|pages|results|sweeps|tests|tools|trials"
    "|viz_callbacks"
)


def named(pattern: str) -> list[tuple[str, ...]]:
    """What the guides name: the page, then the groups of the pattern."""
    return sorted({(page, *found.groups()) for page, text in GUIDES.items() for found in re.finditer(pattern, text)})


@pytest.mark.parametrize("page", TEXTS)
def test_links_lead_to_files(page: str) -> None:
    targets = re.findall(r"\]\(([^)\s#]+)(?:#[^)]*)?\)", TEXTS[page])
    missing = [to for to in targets if "://" not in to and not (ROOT / page).parent.joinpath(to).exists()]
    assert missing == []


def test_paths_exist() -> None:
    paths = named(rf"`((?:{FOLDERS})/[\w/.-]+)`")
    assert [(page, path) for page, path in paths if not (ROOT / path).exists()] == []
    assert len(paths) > 20


def test_imports_work() -> None:
    imports = named(r"from ((?:viz_callbacks|lightning_modules)[\w.]*) import ([\w, ]+)")
    wrong = [
        (page, module, name)
        for page, module, names in imports
        for name in names.split(", ")
        if not hasattr(importlib.import_module(module), name)
    ]
    assert wrong == []
    assert len(imports) > 5


def test_settings_exist() -> None:
    known = {key for key, _ in fields()}
    keys = named(r"\b((?:model|data|optim|trainer|viz|logger)\.[a-z]\w*)(?==|`|: \{)")
    assert [(page, key) for page, key in keys if key not in known] == []
    assert len(keys) > 20


@pytest.mark.parametrize("group", ["recipe", "model", "data", "logger"])
def test_presets_exist(group: str) -> None:
    names = named(rf"(?<![\w.]){group}=([\w-]+)")
    assert [(page, name) for page, name in names if name not in preset_names(group)] == []


def test_modules_that_commands_run_exist() -> None:
    modules = named(r"python -m ((?:tools|benchmarks)[\w.]*)")
    assert [(page, name) for page, name in modules if importlib.util.find_spec(name) is None] == []
    assert len(modules) > 3


def test_the_architecture_names_every_module() -> None:
    page = TEXTS["docs/architecture.md"]
    folders = ("configs", "datamodules", "lightning_modules", "experiment", "viz_callbacks", "trials", "tools", "pages")
    modules = [file for folder in folders for file in (ROOT / folder).rglob("*.py") if file.name != "__init__.py"]
    unnamed = [file.relative_to(ROOT).as_posix() for file in modules if not re.search(rf"\b{file.stem}\b", page)]
    assert unnamed == []


def test_the_methods_of_the_readme_exist() -> None:
    rows = re.findall(r"^\| [A-Z][\w ]+ \| [^|]+ \| (?:`(\w+)` )?\| `(\w+)` \|$", TEXTS["README.md"], flags=re.MULTILINE)
    modules = ROOT.glob("viz_callbacks/m*/*.py")  # methods and metrics
    public = "\n".join(file.read_text(encoding="utf-8") for file in modules)
    callbacks = importlib.import_module("viz_callbacks.callbacks").__all__
    assert [name for name, _ in rows if name and name not in callbacks] == []
    assert [name for _, name in rows if not re.search(rf"^(?:def|class) {name}\b", public, flags=re.MULTILINE)] == []
    assert len(rows) == 10
