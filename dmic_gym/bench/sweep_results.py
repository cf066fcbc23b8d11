"""From the records of a sweep to the results that `dmic bench` also shows."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from dmic_gym.bench.cells import Cell
from dmic_gym.bench.definition import Definition
from dmic_gym.bench.protocol import ANCHOR
from dmic_gym.bench.runner import Row, Run
from dmic_gym.bench.store import Record
from dmic_gym.bench.summary import compare_all, points, summarize

Rows = Mapping[str, list[Row]]
"""Rows by agent, or by still codec."""


@dataclass(frozen=True)
class Encoder:
    """What agents are compared within: one data set and one HEVC encoder, its anchor included."""

    data: str
    codec: str
    ctu_size: int
    preset: str

    @classmethod
    def of(cls, cell: Cell) -> Encoder:
        """Return the encoder of a cell; a still codec's is its own."""
        return cls(cell.data, cell.codec, cell.ctu_size, cell.preset)


def label(cell: Cell) -> str:
    """Return what a cell's line in a table is called."""
    if cell.is_still:
        return cell.codec
    return f"{cell.agent} seed {cell.seed}" if cell.seed else cell.agent


def rows_by_encoder(records: Iterable[Record]) -> dict[Encoder, dict[str, list[Row]]]:
    """Sort the rows of finished cells; of several rewards, which share a row, one counts."""
    found: dict[Encoder, dict[str, dict[tuple[str, int], Row]]] = defaultdict(dict)
    for record in records:
        if record.row is not None:
            rows = found[Encoder.of(record.cell)].setdefault(label(record.cell), {})
            rows.setdefault((record.cell.image, record.cell.base_qp), record.row)
    return {
        encoder: {name: list(rows.values()) for name, rows in agents.items()}
        for encoder, agents in found.items()
    }


def results_of(
    records: Sequence[Record], definition: Definition, left_out: Sequence[str] = ()
) -> list[dict[str, Any]]:
    """Return what ``results.json`` of `dmic bench` holds, once for each encoder with an anchor.

    Images that an agent or still codec has not been coded with at every point are left out of
    all, so that all are compared on the same images; one without any complete image is left out
    itself.

    Args:
        records: of finished cells.
        definition: the sweep, for the sets of base QPs.
        left_out: names of the images with an empty expert mask.

    Returns:
        ``protocol`` (what the tables need), ``agents`` and ``failed`` as `bench` has them, and
        ``stills``: by codec its BD-rates, ``points`` and ``images``.
    """
    by_encoder = rows_by_encoder(records)
    found = []
    for encoder, agents in by_encoder.items():
        compared = _compared(agents, _stills_of(encoder.data, by_encoder))
        if compared is not None:
            found.append(_results(encoder, compared, definition, left_out))
    return found


@dataclass(frozen=True)
class _Comparison:
    """Rows on the same images, and why others are missing."""

    agents: Rows
    stills: Rows
    failed: Mapping[str, str]

    @property
    def anchor(self) -> list[Row]:
        return self.agents[ANCHOR]


def _stills_of(data: str, by_encoder: Mapping[Encoder, Rows]) -> Rows:
    found: dict[str, list[Row]] = {}
    for encoder, rows in by_encoder.items():
        if encoder.data == data and encoder.codec in rows:
            found |= rows
    return found


def _compared(agents: Rows, stills: Rows) -> _Comparison | None:
    """Restrict all to the images that all have; None where the anchor has none."""
    coded = {name: complete_images(rows) for name, rows in {**agents, **stills}.items()}
    images = set.intersection(*(found for found in coded.values() if found))
    failed = {name: "no image was coded at every point" for name in coded if not coded[name]}
    left_out = sorted(set.union(*coded.values()) - images)
    failed |= dict.fromkeys(left_out, "not coded by all at every point")
    agents, stills = (
        {name: rows for name, rows in part.items() if coded[name]} for part in (agents, stills)
    )
    kept = _Comparison(_only(agents, images), _only(stills, images), failed)
    return kept if ANCHOR in kept.agents else None


def _results(
    encoder: Encoder, found: _Comparison, definition: Definition, left_out: Sequence[str]
) -> dict[str, Any]:
    qps = sorted({row.base_qp for row in found.anchor})
    coded = {key: list(qp) for key, qp in definition.base_qps.items() if set(qp) <= set(qps)}
    qp_sets = coded or {"coded": qps}
    return {
        "protocol": {
            **asdict(encoder),
            "images": len({row.name for row in found.anchor}),
            "left_out_empty_mask": list(left_out),
            "base_qps": qps,
            "qp_sets": qp_sets,
            "second_segmenter": definition.second or None,
        },
        "agents": summarize(Run(found.agents, found.failed), ANCHOR, qp_sets),
        "stills": {name: _still(found.anchor, rows) for name, rows in found.stills.items()},
        "failed": dict(found.failed),
    }


def _still(anchor: Sequence[Row], rows: Sequence[Row]) -> dict[str, Any]:
    images = [row.as_dict() for row in rows]
    return {**compare_all(anchor, rows), "points": points(rows), "images": images}


def complete_images(rows: Sequence[Row]) -> set[str]:
    """Return the images that were coded at every point that any was coded at."""
    wanted = {row.base_qp for row in rows}
    coded: dict[str, set[int]] = defaultdict(set)
    for row in rows:
        coded[row.name].add(row.base_qp)
    return {name for name, found in coded.items() if found == wanted}


def _only(rows: Rows, images: set[str]) -> dict[str, list[Row]]:
    kept = {name: [row for row in part if row.name in images] for name, part in rows.items()}
    return {name: part for name, part in kept.items() if part}
