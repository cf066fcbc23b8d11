"""A cell of a sweep, an image or clip coded in one setting, and the row that coding it gives."""

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
    """One image or clip in one setting; equal cells of a store are the same measurement.

    Attributes:
        data: what the data set was called, environment variables unexpanded; see `load_dataset`.
        image: name of the sample or clip.
        agent: spec of the agent (see `make_agent`); `CONSTANT` for a still codec.
        base_qp: the anchor's QP; None for a still codec.
        quality: a still codec's setting; None for an HEVC codec.
        ctu_size: 64, 32 or 16; 0 for a still codec.
        preset: x265's; empty for a still codec.
        codec: one of `HEVC_CODECS`, or the name of a still codec.
        seed: of agents that draw; 0 for those that do not.
        segmenter: name or path of weights, or ``module:object``.
        second: the same for the network that only scores; empty for none.
        gop: frames of a clip that are coded together; None for an image.
    """

    data: str
    image: str
    agent: str = CONSTANT
    base_qp: int | None = None
    quality: int | None = None
    ctu_size: int = 0
    preset: str = ""
    codec: str = "x265"
    seed: int = 0
    segmenter: str = "unet"
    second: str = "second"
    gop: int | None = None

    @property
    def is_still(self) -> bool:
        """Whether a still codec codes it, at constant quality and without an agent."""
        return self.codec not in HEVC_CODECS

    @property
    def point(self) -> int:
        """The operating point: base QP, or quality of a still codec."""
        found = self.quality if self.is_still else self.base_qp
        assert found is not None
        return found

    @property
    def line(self) -> str:
        """What its line in tables and figures is called: agent and seed, or still codec."""
        if self.is_still:
            return self.codec
        return f"{self.agent} seed {self.seed}" if self.seed else self.agent

    @property
    def encoder(self) -> str:
        """Codec, preset and CTU size in words; the codec alone for a still codec."""
        return encoder_name(self.codec, self.preset, self.ctu_size)

    def as_dict(self) -> dict[str, Any]:
        """Return the settings as JSON types; those of clips stand in cells of clips alone."""
        values = asdict(self)
        return values if self.gop is not None else {k: v for k, v in values.items() if k != "gop"}

    def __str__(self) -> str:
        if self.is_still:
            return f"{self.image} {self.codec} quality {self.quality}"
        codec = "" if self.codec == HEVC_CODECS[0] else f" {self.codec}"
        seed = f" seed {self.seed}" if self.seed else ""
        return f"{self.image} {self.agent} QP {self.base_qp} CTU {self.ctu_size}{codec}{seed}"


def encoder_name(codec: str, preset: str, ctu_size: int) -> str:
    """Return an HEVC encoder's name for headings, or a still codec's."""
    return f"{codec} {preset}, CTU {ctu_size}" if ctu_size else codec


@dataclass(frozen=True)
class Row:
    """What coding a cell came to; of a clip, all its groups of pictures together.

    Attributes:
        bits: of the whole stream.
        slice_bits: of its slices; of a still codec's file without its container.
        dice: against the expert mask, or None without one.
        consistency_dice: against the segmenter's mask of the reference.
        second_dice: `dice` of the second segmenter, which no agent asks; None without one.
        second_consistency_dice: `consistency_dice` of the second segmenter.
        psnr: dB.
        encodes: spent by the agent on this image, the final one included; of a clip, how often its
            frames were coded on average.
        seconds: processor time of planner, encodes, decodes and segmentations, of those included
            that an earlier row had made.
        qp_map: absolute QPs, one list a CTU row, of a clip in one list a frame; empty for a still
            codec.
        sha256: of the bitstream.
        iou: against the expert mask; None without one, and in rows of before it was stored.
    """

    bits: int
    slice_bits: int
    dice: float | None
    consistency_dice: float
    second_dice: float | None
    second_consistency_dice: float | None
    psnr: float
    encodes: float
    seconds: float
    qp_map: list[Any]
    sha256: str
    iou: float | None = None

    def as_dict(self) -> dict[str, Any]:
        """Return the row as JSON types."""
        return asdict(self)


FIGURES = tuple(field.name for field in fields(Row) if field.name not in ("qp_map", "sha256"))
"""The numbers of a row."""


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
        values = {name: str(value) for name, value in asdict(cell).items()}
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
