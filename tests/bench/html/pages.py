"""What a page holds, as a browser reads it."""

from __future__ import annotations

import re
from html.parser import HTMLParser

NASTY = '<img src=x onerror="alert(1)">|`a`*b*&amp;'
"""A name that would be markup in HTML and Markdown."""


class Reader(HTMLParser):
    """Tags, ids, links, references between elements, and text."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.ids: list[str] = []
        self.links: list[str] = []
        self.references: list[str] = []
        self.words: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        for name, value in attributes:
            if name == "id":
                self.ids.append(str(value))
            if name in ("src", "href", "srcset", "action", "data", "poster"):
                self.links.append(str(value))
            if name == "xlink:href" or "url(#" in str(value):
                self.references += re.findall(r"#([^)\"]+)", str(value))

    def handle_data(self, data: str) -> None:
        self.words.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.words).split())
