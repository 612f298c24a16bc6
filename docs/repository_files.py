"""Bring files from outside of docs/ into the site, so that links in the pages work both there and on a repository host.

The pages of results/ and their pictures become a part of the site. Links to other files of the repository, such as examples/,
lead to a copy of the file.
"""

import posixpath
import re
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).parent.parent
COPIED = ("results/**/*", "examples/*.*", "CHANGELOG.md", "LICENSE")


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the files that the pages link to, under their paths in the repository."""
    for path in sorted(path for pattern in COPIED for path in ROOT.glob(pattern) if path.is_file()):
        files.append(File.generated(config, path.relative_to(ROOT).as_posix(), abs_src_path=str(path)))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Change relative links so that they fit the site, where the files of docs/ and of the repository share one folder."""
    place = page.file.src_uri
    source = place if page.file.generated_by else f"docs/{place}"

    def link_in_site(link: re.Match[str]) -> str:
        target = posixpath.normpath(posixpath.join(posixpath.dirname(source), link[1]))
        if not (ROOT / target).exists():
            return link[0]
        return f"]({posixpath.relpath(target.removeprefix('docs/'), posixpath.dirname(place) or '.')}"

    return re.sub(r"\]\(([^)#\s]+)", link_in_site, markdown)
