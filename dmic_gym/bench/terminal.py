"""Tables on a terminal."""

from __future__ import annotations

from collections.abc import Iterator

from rich.box import SIMPLE_HEAD
from rich.markup import escape
from rich.table import Table as RichTable
from rich.text import Text

from dmic_gym.bench.protocol import Results
from dmic_gym.bench.tables import (
    Entry,
    Table,
    bd_tables,
    cost_table,
    notes,
    point_tables,
    title,
)


def tables(results: Results) -> Iterator[RichTable | Text]:
    """Yield the tables of one data set and encoder, with their notes below."""
    yield Text(title(results), style="bold")
    for table in (*bd_tables(results), *point_tables(results, [("bits", "dice")])):
        yield rendered(table)
        yield from (Text(f"  {note}") for note in _notes(table))
    yield rendered(cost_table(results))
    yield from (Text(f"  {note}") for note in notes(results))


def rendered(table: Table) -> RichTable:
    """Return a table, without the notes of its figures."""
    made = RichTable(title=escape(table.heading), box=SIMPLE_HEAD, padding=(0, 1, 0, 0))
    made.caption = escape(table.note)
    first, *columns = table.columns
    made.add_column(escape(first))
    for column in columns:
        made.add_column(escape(column), justify="right")
    for row in table.rows:
        made.add_row(*(escape(_plain(entry)) for entry in row))
    return made


def _plain(entry: Entry) -> str:
    """Return an entry, narrow and without signs that some terminals lack."""
    text = f"{entry.text}\n{entry.detail}" if entry.detail else entry.text
    return text.replace("\N{MINUS SIGN}", "-").replace(" to ", " .. ")


def _notes(table: Table) -> Iterator[str]:
    for row in table.rows:
        for column, entry in zip(table.columns[1:], row[1:], strict=True):
            if entry.note:
                yield f"{row[0].text}, {column}: {entry.note}"
