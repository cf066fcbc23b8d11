"""Records as a sweep would make them; light to import."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from dmic_gym.bench.cells import Cell
from dmic_gym.bench.runner import Row
from dmic_gym.bench.store import Record, Store

ROW = Row(
    name="a",
    base_qp=32,
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


def record(image: str = "a", base_qp: int = 32, **changes: Any) -> Record:
    """A finished cell, as the store takes it."""
    cell = Cell("phantoms", image, changes.pop("agent", "anchor"), base_qp)
    row = replace(ROW, name=image, base_qp=base_qp)
    plain = Record(f"{image}-{base_qp}-{cell.agent}", cell, {"image": "00"}, row, reward=0.5)
    return replace(plain, **changes)


def stored(folder: Path) -> list[Record]:
    """The records of a store."""
    with Store.open(folder) as store:
        return store.records()
