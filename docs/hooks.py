"""What MkDocs does while it builds: tables from the package, pictures from recorded results."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

DOCS = Path(__file__).parent
sys.path.insert(0, str(DOCS))

import cards  # noqa: E402
import generated  # noqa: E402

_MARKER = re.compile(r"<!-- generated: (.+?) -->")
_RECORDED = re.compile(r"\]\(\.\./(benchmarks/results/[^)]+\.png)\)")
_MADE = {**generated.TABLES, **cards.CARDS}


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the recorded pictures that pages show from outside this folder."""
    pages = [file.content_string for file in files.documentation_pages() if _is_markdown(file)]
    for path in sorted({found for page in pages for found in _RECORDED.findall(page)}):
        files.append(File.generated(config, path, abs_src_path=str(DOCS.parent / path)))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Fill in what is generated."""
    markdown = _RECORDED.sub(r"](\1)", markdown)
    return _MARKER.sub(lambda found: _made(found[1]), markdown)


def _is_markdown(file: File) -> bool:
    return file.src_uri.endswith(".md")


def _made(words: str) -> str:
    name, *arguments = words.split()
    make: Any = _MADE[name]
    text: str = make(*arguments)
    return text
