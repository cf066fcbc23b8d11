"""Where the figures come from: commands, versions, weights, encoders."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from dmic_gym.bench.html.report_data import ReportData
from dmic_gym.bench.rows import Record, SweepRun


@dataclass(frozen=True)
class Weights:
    """A network or source file that decided results.

    Attributes:
        role: ``"segmenter"``, ``"second segmenter"``, ``"posterior"`` or ``"agent NAME"``.
        name: of the weights or object.
        sha256: hexadecimal.
    """

    role: str
    name: str
    sha256: str


@dataclass(frozen=True)
class Origin:
    """What it takes to make the figures again.

    Attributes:
        runs: the starts of the sweep.
        last: time of the last finished cell, ISO 8601, UTC.
        versions: of Python and packages, in the last run.
        weights: networks with their hashes.
        encoders: name, version and parameters of each encoder.
        protocol: the protocol's number.
    """

    runs: Sequence[SweepRun]
    last: str
    versions: Mapping[str, str]
    weights: Sequence[Weights]
    encoders: Sequence[tuple[str, str, str]]
    protocol: str


def origin_of(data: ReportData) -> Origin:
    """Gather the origin of the records."""
    records = data.records
    return Origin(
        runs=data.runs,
        last=max(record.finished for record in records),
        versions=data.runs[-1].versions,
        weights=_unique(weights for record in records for weights in _weights(record)),
        encoders=_unique(_encoder(record) for record in records),
        protocol=", ".join(_unique(str(record.provenance["protocol"]) for record in records)),
    )


def _unique(found: Iterable[Any]) -> list[Any]:
    return list(dict.fromkeys(found))


def _weights(record: Record) -> list[Weights]:
    provenance = record.provenance
    roles = {
        "segmenter": provenance.get("segmenter"),
        "second segmenter": provenance.get("second"),
        "posterior": provenance.get("posterior"),
        f"agent {record.cell.agent}": provenance.get("agent"),
    }
    return [_named(role, found) for role, found in roles.items() if found]


def _named(role: str, found: Any) -> Weights:
    if isinstance(found, str):
        return Weights(role, "posterior.json", found)
    return Weights(role, str(found["name"]), str(found["sha256"]))


def _encoder(record: Record) -> tuple[str, str, str]:
    cell, encoder = record.cell, record.provenance["encoder"]
    return cell.encoder, str(encoder["version"]), str(encoder.get("x265_params", ""))
