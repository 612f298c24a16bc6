"""Make Markdown of docstrings: doctests become code, angle brackets in formulas no HTML."""

import re
from typing import Any

import griffe


class DocstringsAsMarkdown(griffe.Extension):
    """Changes docstrings before they are parsed; mkdocs.yml names this file."""

    def on_object(self, *, obj: griffe.Object, **kwargs: Any) -> None:
        """Change the docstring of a module, class, function or attribute."""
        if obj.docstring:
            obj.docstring.value = "\n\n".join(map(as_markdown, obj.docstring.value.split("\n\n")))


def as_markdown(paragraph: str) -> str:
    """Return a paragraph of a docstring as Markdown."""
    if paragraph.startswith(">>> "):
        return f"```pycon\n{paragraph}\n```"
    if paragraph.startswith("    "):  # code already
        return paragraph
    code_or_bracket = r"(``?[^`]+``?)|<(?=[a-zA-Z])"
    return re.sub(code_or_bracket, lambda found: found[1] or "&lt;", re.sub(r"::$", ":", paragraph))
