"""Tables and text as Markdown."""

from __future__ import annotations

import re

from dmic_gym.bench.tables import Entry, Table

_SPECIAL = re.compile(r"([\\`*_{}\[\]<>#|])")


def escaped(text: str) -> str:
    """Escape what Markdown would take for markup, and what would break a table's row."""
    return _SPECIAL.sub(r"\\\1", " ".join(str(text).split()))


def markdown_table(table: Table) -> str:
    """Return a table with its heading and note."""
    rule = ["---", *["---:"] * (len(table.columns) - 1)]
    rows = [[_entry(entry) for entry in row] for row in table.rows]
    lines = [[escaped(column) for column in table.columns], rule, *rows]
    drawn = "\n".join(f"| {' | '.join(line)} |" for line in lines)
    return f"**{escaped(table.heading)}**\n\n{escaped(table.note)}\n\n{drawn}\n"


def _entry(entry: Entry) -> str:
    parts = (*entry.detail.split("\n"), entry.note)
    words = "; ".join(part for part in parts if part)
    return escaped(f"{entry.text} ({words})" if words else entry.text)
