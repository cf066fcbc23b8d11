"""Records as a sweep would make them; light to import."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from dmic_gym.bench.cells import Cell, Row
from dmic_gym.bench.rows import Record, identity
from dmic_gym.bench.store import Store

ROW = Row(
    bits=800,
    slice_bits=700,
    dice=0.5,
    consistency_dice=0.75,
    second_dice=None,
    second_consistency_dice=None,
    psnr=31.5,
    encodes=1,
    seconds=0.25,
    qp_map=[[32, 33], [34, 35]],
    sha256="ab" * 32,
)


def record(
    image: str = "a", base_qp: int = 32, made: Mapping[str, Any] | None = None, **changes: Any
) -> Record:
    """A finished cell, as the store takes it; `made` is what else decided the result."""
    agent = changes.pop("agent", "anchor")
    cell = Cell("phantoms", image, agent, base_qp, ctu_size=64, preset="medium")
    provenance = {"cell": cell.as_dict(), "image": "00", **(made or {})}
    plain = Record(identity(provenance), cell, provenance, ROW, finished="now")
    return replace(plain, **changes)


def stored(folder: Path) -> list[Record]:
    """The records of a store."""
    with Store.open(folder) as store:
        return store.records()
