"""A cell of a sweep: one image coded in one setting."""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields
from fnmatch import fnmatchcase
from typing import Any

from dmic_gym.codecs.stills.base import StillCodec
from dmic_gym.errors import InvalidInputError, unknown_name

HEVC_CODECS = ("x265", "ffmpeg")
"""Codecs with a QP per CTU, which agents steer; all others code stills at constant quality."""

CONSTANT = "constant"
"""The agent of a still codec's cells: there is none, the quality is the same everywhere."""


@dataclass(frozen=True)
class Cell:
    """One image in one setting; two cells of a store that are equal are the same measurement.

    Attributes:
        data: what the data set was called, environment variables unexpanded; see `load_dataset`.
        image: name of the sample.
        agent: spec of the agent (see `make_agent`); `CONSTANT` for a still codec.
        base_qp: the anchor's QP; for a still codec its quality setting.
        ctu_size: 64, 32 or 16; 0 for a still codec.
        preset: x265's; empty for a still codec.
        codec: one of `HEVC_CODECS`, or the name of a still codec.
        reward: name of the reward that is recorded; empty for a still codec.
        seed: of agents that draw; 0 for those that do not.
        segmenter: name or path of weights, or ``module:object``.
        second: the same for the network that only scores; empty for none.
    """

    data: str
    image: str
    agent: str
    base_qp: int
    ctu_size: int = 64
    preset: str = "medium"
    codec: str = "x265"
    reward: str = "linear"
    seed: int = 0
    segmenter: str = "unet"
    second: str = "second"

    @property
    def is_still(self) -> bool:
        """Whether a still codec codes it, at constant quality and without an agent."""
        return self.codec not in HEVC_CODECS

    def as_dict(self) -> dict[str, Any]:
        """Return the settings as JSON types."""
        return asdict(self)

    def __str__(self) -> str:
        if self.is_still:
            return f"{self.image} {self.codec} quality {self.base_qp}"
        seed = f" seed {self.seed}" if self.seed else ""
        codec = "" if self.codec == HEVC_CODECS[0] else f" {self.codec}"
        return f"{self.image} {self.agent} QP {self.base_qp} CTU {self.ctu_size}{codec}{seed}"


def find_still(name: str) -> StillCodec:
    """Return the still codec of that name.

    Raises:
        InvalidInputError: there is none.
        MissingDependencyError: its library is not installed.
    """
    from dmic_gym.codecs.stills import STILLS

    if name not in STILLS:
        raise unknown_name("codec", name, [*HEVC_CODECS, *STILLS])
    return STILLS[name]


class Only:
    """A choice among cells, as ``--only`` takes it.

    Args:
        pattern: shell patterns with commas between, all of which a cell has to match:
            ``field=pattern``, as in ``agent=search:*,base_qp=32``, or a pattern alone, which any
            field may match.

    Raises:
        InvalidInputError: a field that cells do not have.
    """

    def __init__(self, pattern: str) -> None:
        self._terms = [_term(part.strip()) for part in pattern.split(",") if part.strip()]
        if not self._terms:
            raise InvalidInputError("--only is empty: type for instance --only 'agent=search:*'.")

    def __call__(self, cell: Cell) -> bool:
        """Whether the cell is chosen."""
        values = {name: str(value) for name, value in cell.as_dict().items()}
        return all(
            any(fnmatchcase(values[name], pattern) for name in ([field] if field else values))
            for field, pattern in self._terms
        )


def _term(text: str) -> tuple[str, str]:
    field, equals, pattern = text.partition("=")
    if not equals:
        return "", text
    known = [field.name for field in fields(Cell)]
    if field not in known:
        raise unknown_name("field in --only", field, known)
    return field, pattern
