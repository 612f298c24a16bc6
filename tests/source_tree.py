"""The project's own source files as syntax trees, and what is read from them."""

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

ROOT = Path(__file__).parents[1]


@dataclass(frozen=True)
class Source:
    """A source file. ``file`` is relative to the project's folder."""

    file: str
    tree: ast.Module

    @property
    def module(self) -> str:
        """Its name in an import."""
        return self.file.removesuffix(".py").removesuffix("/__init__").replace("/", ".")

    def calls(self) -> Iterator[tuple[str, int]]:
        """The functions that it calls, as they are written, and the lines."""
        for node in ast.walk(self.tree):
            if isinstance(node, ast.Call):
                yield ast.unparse(node.func), node.lineno

    def catches_all(self) -> list[int]:
        """The lines that catch any exception."""
        handlers = [node for node in ast.walk(self.tree) if isinstance(node, ast.ExceptHandler)]
        named = [ast.unparse(handler.type).split(".")[-1] if handler.type else "" for handler in handlers]
        return [node.lineno for node, name in zip(handlers, named, strict=True) if name in ("", "Exception", "BaseException")]

    def unseen_options(self) -> list[str]:
        """The functions that take ``**options`` of any name and any type."""
        functions = [node for node in ast.walk(self.tree) if isinstance(node, ast.FunctionDef)]
        options = [(node.name, node.args.kwarg.annotation) for node in functions if node.args.kwarg]
        return [name for name, kind in options if kind is None or ast.unparse(kind) in ("Any", "object")]

    def private_definitions(self) -> set[str]:
        """The names with an underscore that it defines: functions, classes, variables and attributes."""
        found = set()
        for node in ast.walk(self.tree):
            match node:
                case ast.FunctionDef(name=name) | ast.ClassDef(name=name):
                    found.add(name)
                case ast.Name(id=name, ctx=ast.Store()):
                    found.add(name)
                case ast.Attribute(attr=name, value=ast.Name(id="self" | "cls"), ctx=ast.Store()):
                    found.add(name)
        return {name for name in found if is_private(name)}


class SourceTree:
    """All source files below some packages and files of the project's folder, such as ``configs`` and ``train.py``."""

    def __init__(self, *places: str) -> None:
        paths = [ROOT / place for place in places]
        files = [file for path in paths for file in (sorted(path.rglob("*.py")) if path.is_dir() else [path])]
        self.sources = [Source(str(file.relative_to(ROOT)), ast.parse(file.read_text())) for file in files]
        self.modules = {source.module for source in self.sources}

    @cached_property
    def private_definitions(self) -> set[str]:
        """The names with an underscore that any of the files defines."""
        return set().union(*(source.private_definitions() for source in self.sources))

    def imports(self, source: Source) -> set[str]:
        """Every module that a file imports, at its top or inside a function.

        ``from package import name`` is the module ``package.name`` where there is one.
        """
        found: set[str] = set()
        for node in ast.walk(source.tree):
            if isinstance(node, ast.Import):
                found |= {alias.name for alias in node.names}
            elif isinstance(node, ast.ImportFrom):
                assert node.module, f"{source.file}:{node.lineno}: a relative import"
                names = {f"{node.module}.{alias.name}" for alias in node.names}
                found |= {name if name in self.modules else node.module for name in names}
        return found

    def own_imports(self, source: Source) -> set[str]:
        """Those of its imports that are the project's own modules."""
        return self.imports(source) & self.modules

    def borrowed_private_names(self, source: Source) -> set[str]:
        """The names with an underscore that a file uses though another file or library defines them.

        That is: ``thing._name`` and ``getattr(thing, "_name")`` where this file doesn't define the name, ``self._name`` where
        none does, ``from module import _name`` and ``import library._module``.
        """
        imported, of_self, of_others = set(), set(), set()
        for node in ast.walk(source.tree):
            match node:
                case ast.Attribute(attr=name, value=ast.Name(id="self" | "cls") | ast.Call(func=ast.Name(id="super"))):
                    of_self.add(name)
                case ast.Attribute(attr=name):
                    of_others.add(name)
                case ast.Call(func=ast.Name(id="getattr" | "setattr" | "hasattr"), args=[_, ast.Constant(value=str(name)), *_]):
                    of_others.add(name)
                case ast.ImportFrom(module=str(module), names=aliases):
                    imported |= {*module.split("."), *(alias.name for alias in aliases)}
                case ast.Import(names=aliases):
                    imported |= {part for alias in aliases for part in alias.name.split(".")}
        own = source.private_definitions()
        borrowed = imported | (of_others - own) | (of_self - own - self.private_definitions)
        return {name for name in borrowed if is_private(name)}


def is_private(name: str) -> bool:
    """Whether a name is private by its underscore; ``_`` and ``__name__`` are not."""
    return name.startswith("_") and name.strip("_") != "" and not (name.startswith("__") and name.endswith("__"))
