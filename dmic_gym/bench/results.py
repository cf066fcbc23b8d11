"""From the records of a store to what ``results.json`` holds, for `dmic bench` and `dmic sweep`."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any, TypeAlias

import numpy as np

from dmic_gym.bench.cells import Cell
from dmic_gym.bench.datasets import Source, pixels_of
from dmic_gym.bench.definition import Definition
from dmic_gym.bench.lines import Line, lines_of
from dmic_gym.bench.plan import SweepPlan
from dmic_gym.bench.protocol import ANCHOR, METHOD, METRIC
from dmic_gym.bench.rows import Record, SweepRun
from dmic_gym.bench.store import Store
from dmic_gym.bench.summary import CLIP_MEASURES, MEASURES, summarize, summarize_still

Sources: TypeAlias = Mapping[tuple[str, str], Source]
"""Images or clips by data set and name."""


@dataclass(frozen=True)
class Encoder:
    """What agents are compared within: one data set and one HEVC encoder, its anchor included.

    Of clips, `gop` is how many frames are coded together.
    """

    data: str
    codec: str
    preset: str
    ctu_size: int
    gop: int | None = None

    @classmethod
    def of(cls, cell: Cell) -> Encoder:
        """Return the encoder of a cell; a still codec's is its own."""
        return cls(cell.data, cell.codec, cell.preset, cell.ctu_size, cell.gop)

    @classmethod
    def of_protocol(cls, protocol: Mapping[str, Any]) -> Encoder:
        """Return the encoder that a part of ``results.json`` is about."""
        return cls(**{key.name: protocol[key.name] for key in fields(cls) if key.name in protocol})


def by_encoder(records: Iterable[Record]) -> dict[Encoder, list[Record]]:
    """Sort records by data set and encoder."""
    found: dict[Encoder, list[Record]] = defaultdict(list)
    for record in records:
        found[Encoder.of(record.cell)].append(record)
    return found


def results_of(
    records: Sequence[Record],
    definition: Definition,
    *,
    failures: Sequence[Record] = (),
    left_out: Sequence[str] = (),
    run: SweepRun | None = None,
    sources: Sources | None = None,
) -> list[dict[str, Any]]:
    """Return what is to be said of each data set and encoder that has an anchor.

    Images that an agent or still codec has not been coded with at every point are left out of
    all, so that all are compared on the same images; a line without any complete image is left
    out itself.

    Args:
        records: of finished cells.
        definition: the sweep, for sets of base QPs, order of agents, and rivals.
        failures: of cells that failed, for the reasons.
        left_out: names of the images with an empty expert mask.
        run: the last start of the sweep, for command and versions.
        sources: images or clips at hand, for their mean size in pixels.

    Returns:
        For each, JSON types: ``protocol``; ``agents``, see `summarize`; ``stills``, see
        `summarize_still`; ``failed``: why, by image or line.
    """
    groups = by_encoder(records)
    found = []
    for encoder, group in groups.items():
        stills = [r for r in records if r.cell.is_still and r.cell.data == encoder.data]
        errors = {
            record.cell.image: str(record.error)
            for record in failures[::-1]
            if Encoder.of(record.cell) == encoder
        }
        compared = _compared(lines_of([*group, *stills]), errors)
        if not group[0].cell.is_still and ANCHOR in compared.lines:
            made = _results(group[0], compared, definition, left_out, run)
            made["protocol"] |= _size(encoder.data, compared, sources or {})
            found.append(made)
    return found


def _size(data: str, compared: _Compared, sources: Sources) -> dict[str, float]:
    """Return the mean pixels of an image, or of all frames of a clip; nothing if not at hand."""
    found = [sources.get((data, image)) for image in compared.lines[ANCHOR].images]
    pixels = [pixels_of(source) for source in found if source is not None]
    return {"pixels": float(np.mean(pixels))} if pixels and len(pixels) == len(found) else {}


def results_in(store: Store, definition: Definition, plan: SweepPlan) -> list[dict[str, Any]]:
    """Return what `results_of` does of the cells of a plan that a store holds."""
    return results_of(
        [record for record in store.records() if record.id in plan.grid],
        definition,
        failures=[record for record in store.failures() if record.id in plan.grid],
        left_out=plan.left_out,
        run=store.runs()[-1],
        sources={(one.cells[0].cell.data, one.source.name): one.source for one in plan.groups},
    )


@dataclass(frozen=True)
class _Compared:
    """Lines on the same images, and why others are missing."""

    lines: Mapping[str, Line]
    failed: Mapping[str, str]

    def of(self, setting: str) -> dict[str, Line]:
        return {name: line for name, line in self.lines.items() if line.setting == setting}


def _compared(lines: dict[str, Line], errors: Mapping[str, str]) -> _Compared:
    """Restrict all to the images that all have."""
    coded = {name: line.complete for name, line in lines.items()}
    every = [images for images in coded.values() if images]
    images = set.intersection(*every) if every else set()
    missing = {*errors, *(image for line in lines.values() for image in line.images)} - images
    why = {image: errors.get(image, "not coded by all at every point") for image in sorted(missing)}
    why |= {name: "no image was coded at every point" for name in coded if not coded[name]}
    kept = {name: line.only(images) for name, line in lines.items() if coded[name] and images}
    return _Compared(kept, why)


def _results(
    record: Record,
    compared: _Compared,
    definition: Definition,
    left_out: Sequence[str],
    run: SweepRun | None,
) -> dict[str, Any]:
    anchor = compared.lines[ANCHOR]
    sets = definition.base_qps.items()
    qp_sets = {key: list(qps) for key, qps in sets if set(qps) <= set(anchor.points)}
    agents = _in_order(compared.of("base_qp"), definition.agents)
    rivals = [name for name in definition.compare if name in agents]
    summary = summarize(
        agents,
        ANCHOR,
        qp_sets or {"coded": anchor.points},
        rivals=rivals,
        measures=MEASURES if record.cell.gop is None else CLIP_MEASURES,
    )
    return {
        "protocol": {
            **_origin(record),
            "images": len(anchor.images),
            "left_out_empty_mask": list(left_out),
            "base_qps": anchor.points,
            "qp_sets": qp_sets or {"coded": anchor.points},
            "compare": rivals,
            "metric": METRIC,
            **METHOD,
            "versions": dict(run.versions) if run else {},
            "command": run.command if run else "",
        },
        "agents": summary,
        "stills": {
            name: summarize_still(anchor, line) for name, line in compared.of("quality").items()
        },
        "failed": dict(compared.failed),
    }


def _origin(record: Record) -> dict[str, Any]:
    """Return data, encoder and networks of a record."""
    cell, made = record.cell, record.provenance
    encoder = dict(made.get("encoder", {}))
    return {
        "protocol": made.get("protocol"),
        "data": cell.data,
        "codec": cell.codec,
        "preset": cell.preset,
        "ctu_size": cell.ctu_size,
        **({} if cell.gop is None else {"gop": cell.gop}),
        "encoder": encoder.get("version", ""),
        "x265_params": encoder.get("x265_params", ""),
        "qp_offsets": encoder.get("qp_offsets", []),
        "segmenter": made.get("segmenter"),
        "second_segmenter": made.get("second"),
    }


def _in_order(lines: Mapping[str, Line], agents: Sequence[str]) -> dict[str, Line]:
    """Return the lines, the anchor first, then as the agents are named; seeds stay together."""
    order = {agent: n for n, agent in enumerate([ANCHOR, *agents])}
    last = len(order)
    place = {name: order.get(name.partition(" seed ")[0], last) for name in lines}
    place[ANCHOR] = -1
    return {name: lines[name] for name in sorted(lines, key=lambda name: place[name])}
