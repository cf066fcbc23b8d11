"""Coding a picture at a base QP, or at the one that meets a target."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Self

import numpy as np

from dmic_gym.codecs.base import check_ctu_size
from dmic_gym.deploy.allocation import ANCHOR, Allocator, AnyAgent, default_agent
from dmic_gym.deploy.decoding import decode_picture
from dmic_gym.deploy.limits import DEFAULT_LIMITS
from dmic_gym.deploy.mp4 import to_mp4
from dmic_gym.deploy.pictures import Picture
from dmic_gym.deploy.rates import DEFAULT_RATE
from dmic_gym.deploy.streams import encode_grey, encode_main
from dmic_gym.deploy.targets import highest_qp, lowest_qp
from dmic_gym.envs.evaluator import Evaluator
from dmic_gym.envs.settings import check_base_qps
from dmic_gym.errors import InvalidInputError, unknown_name
from dmic_gym.tasks.segmenters.protocol import SegmenterSpec
from dmic_gym.types import QPMap

OnFrame = Callable[[int, int], None]

FORMATS = ("hevc", "main", "mp4")


@dataclass(frozen=True)
class Settings:
    """How to code; `dmic_gym.encode` documents each.

    Raises:
        InvalidInputError: a value is none of the valid ones, or there are two targets.
    """

    agent: AnyAgent | None = None
    qp: int = 32
    target_dice: float | None = None
    target_bytes: int | None = None
    ctu_size: int = 64
    preset: str = "medium"
    segmenter: SegmenterSpec = None
    strict: bool = False

    def __post_init__(self) -> None:
        check_base_qps([self.qp])
        check_ctu_size(self.ctu_size)
        if self.target_dice is not None and self.target_bytes is not None:
            raise InvalidInputError("Pass target_dice or target_bytes, not both.")
        if self.target_dice is not None and not _is_share(self.target_dice):
            raise InvalidInputError(
                f"target_dice={self.target_dice!r} is outside 0..1: it is the share of the "
                "expected Dice that is to be kept, such as 0.95."
            )
        if self.target_bytes is not None and not _is_count(self.target_bytes):
            raise InvalidInputError(
                f"target_bytes={self.target_bytes!r} is no count of bytes. Nearest: 1."
            )


def _is_share(value: object) -> bool:
    return isinstance(value, (int, float)) and 0.0 < value <= 1.0


def _is_count(value: object) -> bool:
    return isinstance(value, (int, np.integer)) and bool(value >= 1)


@dataclass(frozen=True, eq=False)
class Encoding:
    """A coded picture.

    Attributes:
        data: the file: Annex B ("hevc", "main") or MP4 ("mp4").
        units: Annex B access units, one a frame.
        reconstruction: what `decode` makes of `data`.
        qp_maps: one a frame, int16 (rows, cols), absolute QPs.
        qp: the base QP.
        dice: retained Dice, the lowest of the frames (see `dmic_gym.encode`); None where
            neither target nor agent needed the segmenter.
    """

    data: bytes
    units: list[bytes]
    reconstruction: Picture
    qp_maps: list[QPMap]
    qp: int
    dice: float | None


class Coder:
    """Codes pictures one after the other; networks and policy are loaded once, when needed.

    Args:
        settings: how to code.
        workers: threads that the trials of a search are coded in.
    """

    def __init__(self, settings: Settings, workers: int = 1) -> None:
        agent = default_agent() if settings.agent is None else settings.agent
        self._settings = settings
        self._allocator = Allocator(
            agent, settings.ctu_size, settings.preset, settings.segmenter, settings.strict, workers
        )
        self._judges = settings.target_dice is not None or agent != ANCHOR

    def prepare(self) -> None:
        """Load agent and segmenter now, if needed; raise InvalidInputError if there are none."""
        self._allocator.prepare()
        if self._judges:
            _ = self.evaluator

    def encode(
        self,
        picture: Picture,
        format: str = "hevc",
        on_frame: OnFrame = lambda *_: None,
        rate: Fraction = DEFAULT_RATE,
        qp_maps: Sequence[QPMap] | None = None,
    ) -> Encoding:
        """Code a picture; see `dmic_gym.encode` for formats and errors.

        Args:
            picture: one frame or several.
            format: one of `FORMATS`.
            on_frame: called when a frame is coded, with how many are, and of how many; a search
                for a target begins anew with each base QP.
            rate: frames a second, which "mp4" alone keeps.
            qp_maps: one a frame, in place of the agent's.
        """
        if format not in FORMATS:
            raise unknown_name("format", format, FORMATS)
        DEFAULT_LIMITS.check_size(*picture.shape, len(picture.frames))
        settings = self._settings

        def coded(qp: int) -> Encoding:
            chosen = self._allocator.qp_maps(picture, qp) if qp_maps is None else qp_maps
            return self._encode_with(chosen, qp, picture, format, on_frame, rate)

        if settings.target_dice is not None:
            return _for_dice(settings.target_dice, coded)
        if settings.target_bytes is not None:
            return _for_bytes(settings.target_bytes, coded)
        return coded(settings.qp)

    @property
    def evaluator(self) -> Evaluator:
        """The segmenter with an encoder of the same CTU size; loaded when asked for."""
        return self._allocator.evaluator

    @property
    def ctu_size(self) -> int:
        """Side of a CTU in luma samples."""
        return self._settings.ctu_size

    def close(self) -> None:
        """Free the encoders."""
        self._allocator.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _encode_with(
        self,
        chosen: Iterable[QPMap],
        qp: int,
        picture: Picture,
        format: str,
        on_frame: OnFrame,
        rate: Fraction,
    ) -> Encoding:
        allocator = self._allocator
        qp_maps: list[QPMap] = []

        def planned() -> Iterator[QPMap]:
            for number, qp_map in enumerate(chosen, 1):
                qp_maps.append(qp_map)
                yield qp_map
                on_frame(number, len(picture.frames))

        code = encode_grey if format == "hevc" else encode_main
        units = code(picture, planned(), ctu_size=allocator.ctu_size, preset=allocator.preset)
        data = to_mp4(units, rate) if format == "mp4" else b"".join(units)
        reconstruction = decode_picture(data)
        dice = allocator.retained_dice(picture, reconstruction) if self._judges else None
        return Encoding(data, units, reconstruction, qp_maps, qp, dice)


def encode_picture(
    picture: Picture, settings: Settings, format: str = "hevc", rate: Fraction = DEFAULT_RATE
) -> Encoding:
    """Code a single picture; see `Coder`."""
    with Coder(settings) as coder:
        return coder.encode(picture, format, rate=rate)


def _for_dice(target: float, coded: Callable[[int], Encoding]) -> Encoding:
    trials = _Trials(coded, lambda made: made.dice or 0.0, lambda dice: dice >= target)
    if highest_qp(trials.meets) is None:
        best = np.floor(max(trials.values) * 1e4) / 1e4
        raise InvalidInputError(
            f"target_dice={target} cannot be reached with this agent. Nearest: {best:.4f}."
        )
    return trials.last_met


def _for_bytes(target: int, coded: Callable[[int], Encoding]) -> Encoding:
    trials = _Trials(coded, lambda made: len(made.data), lambda size: size <= target)
    if lowest_qp(trials.meets) is None:
        least = int(min(trials.values))
        raise InvalidInputError(
            f"target_bytes={target} cannot be reached with this agent. Nearest: {least}."
        )
    return trials.last_met


class _Trials:
    """Encodes that a search tries; bisection ends at the last one that met the target."""

    def __init__(
        self,
        coded: Callable[[int], Encoding],
        measure: Callable[[Encoding], float],
        enough: Callable[[float], bool],
    ) -> None:
        self._coded = coded
        self._measure = measure
        self._enough = enough
        self._last_met: Encoding | None = None
        self.values: list[float] = []

    def meets(self, qp: int) -> bool:
        """Encode at a base QP; return whether that meets the target."""
        made = self._coded(qp)
        self.values.append(self._measure(made))
        met = self._enough(self.values[-1])
        if met:
            self._last_met = made
        return met

    @property
    def last_met(self) -> Encoding:
        """The last encode that met the target."""
        assert self._last_met is not None
        return self._last_met
