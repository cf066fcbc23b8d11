"""The arguments of the environments, with errors that say what to type."""

from __future__ import annotations

import difflib
import inspect
import operator
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypedDict, TypeVar

from dmic_gym.codecs.base import QP_RANGE, Codec, QPRange
from dmic_gym.envs.rewards import Reward, make_reward
from dmic_gym.errors import InvalidInputError, checked_integer, unknown_name
from dmic_gym.tasks.data.pairs import DataSpec
from dmic_gym.tasks.data.sample import Sample
from dmic_gym.tasks.data.sequence import Item, names_of
from dmic_gym.tasks.registry import Task, find_task
from dmic_gym.tasks.segmenters.find import find_segmenter
from dmic_gym.tasks.segmenters.protocol import Segmenter, SegmenterSpec

DEFAULT_BASE_QPS = (22, 27, 32, 37)
DEFAULT_QP_OFFSETS = (-10, -6, -3, 0, 3, 6, 9, 12, 15, 18, 21, 25, 29)
DEFAULT_MAX_FAILURES = 10

Made = TypeVar("Made", bound=Callable[..., Any])


class CodingArguments(TypedDict, total=False):
    """The fields of `EncoderSettings` as keyword arguments."""

    task: Task | str | None
    segmenter: SegmenterSpec
    codec: Codec | str
    ctu_size: int | None
    base_qps: Sequence[int]
    qp_offsets: Sequence[int]
    reward: Reward | str
    preset: str | None
    max_failures: int


@dataclass(frozen=True, kw_only=True)
class EncoderSettings:
    """What all coding environments can be told but data; `CodingEnv` documents the fields.

    Raises:
        InvalidInputError: a value is none of the valid ones.
    """

    task: Task | str | None = None
    segmenter: SegmenterSpec = None
    codec: Codec | str = "x265"
    ctu_size: int | None = None
    base_qps: Sequence[int] = DEFAULT_BASE_QPS
    qp_offsets: Sequence[int] = DEFAULT_QP_OFFSETS
    reward: Reward | str = "rate_saving"
    preset: str | None = None
    max_failures: int = DEFAULT_MAX_FAILURES

    def __post_init__(self) -> None:
        _ = self.chosen_task
        checked_integer("max_failures", self.max_failures)
        make_reward(self.reward)

    @property
    def chosen_task(self) -> Task | None:
        """The task, by name or as it is."""
        return find_task(self.task) if isinstance(self.task, str) else self.task

    def load_segmenter(self) -> Segmenter:
        """Return the segmenter: `segmenter`, else the task's for training, else the shipped one."""
        task = self.chosen_task
        if self.segmenter is None and task is not None:
            return find_segmenter(task.training_segmenter)
        return find_segmenter(self.segmenter)


@dataclass(frozen=True)
class CodingSettings(EncoderSettings):
    """What the coding environments of images can be told."""

    dataset: DataSpec | None = None

    def load_data(self) -> Sequence[Sample]:
        """Return the images: of `dataset`, else the task's training images, else phantoms."""
        task = self.chosen_task
        if self.dataset is None and task is not None:
            return task.load_data("train")
        return make_dataset("phantoms" if self.dataset is None else self.dataset)


def shows_settings(make: Made) -> Made:
    """Let `help` and `inspect.signature` name the settings that `make` takes as ``**arguments``."""
    return showing(make, CodingSettings)


def showing(make: Made, kind: type[EncoderSettings]) -> Made:
    """Do what `shows_settings` does for settings of another kind."""
    own = inspect.signature(make)
    named = [p for p in own.parameters.values() if p.kind is not p.VAR_KEYWORD]
    settings = inspect.signature(kind).parameters.values()
    more = [p for p in settings if p.name not in own.parameters]
    positional = [p for p in named if p.kind is not p.KEYWORD_ONLY]
    keywords = [p for p in named if p.kind is p.KEYWORD_ONLY]
    shown = own.replace(parameters=[*positional, *more, *keywords])
    make.__signature__ = shown  # type: ignore[attr-defined]
    return make


def make_dataset(dataset: DataSpec) -> Sequence[Sample]:
    """Return the samples named by `dataset`; raise InvalidInputError if there are none."""
    from dmic_gym.tasks.data.registry import load_dataset

    samples = load_dataset(dataset)
    if len(samples) == 0:
        raise InvalidInputError("The data set is empty: pass at least one Sample.")
    return samples


def make_codec(codec: Codec | str, ctu_size: int | None, preset: str | None) -> Codec:
    """Return the codec of that name, or `codec` itself if it has the CTU size asked for."""
    if not isinstance(codec, str):
        return _checked_codec(codec, ctu_size, preset)
    from dmic_gym.codecs import FFmpegCodec, X265Codec

    codecs = {"x265": X265Codec, "ffmpeg": FFmpegCodec}
    if codec not in codecs:
        raise unknown_name("codec", codec, codecs)
    made: Codec = codecs[codec](64 if ctu_size is None else ctu_size, preset or "medium")
    return made


def _checked_codec(codec: Codec, ctu_size: int | None, preset: str | None) -> Codec:
    if not isinstance(codec, Codec):
        raise InvalidInputError(
            f'codec must be "x265", "ffmpeg" or have ctu_size, qp_range, encode, decode and close, '
            f"got {type(codec).__name__}."
        )
    if ctu_size not in (None, codec.ctu_size) or preset is not None:
        raise InvalidInputError(
            f"A codec object has its own CTU size ({codec.ctu_size}) and preset: leave out "
            "ctu_size= and preset=, or give them to the codec."
        )
    return codec


def check_base_qps(base_qps: Sequence[int], qp_range: QPRange = QP_RANGE) -> tuple[int, ...]:
    """Return the QPs as a tuple of ints within `qp_range`; raise InvalidInputError otherwise."""
    low, high = qp_range
    qps = _integers("base_qp", base_qps)
    for qp in qps:
        if not low <= qp <= high:
            nearest = min(max(qp, low), high)
            raise InvalidInputError(f"base_qp={qp} is outside {low}..{high}. Nearest: {nearest}.")
    return qps


def check_qp_offsets(qp_offsets: Sequence[int], qp_range: QPRange = QP_RANGE) -> tuple[int, ...]:
    """Return the offsets as a tuple of distinct ints with 0 among them, none beyond the range."""
    most = qp_range[1] - qp_range[0]
    offsets = _integers("qp_offset", qp_offsets)
    if len(set(offsets)) != len(offsets) or 0 not in offsets:
        raise InvalidInputError(
            f"qp_offsets must be distinct and hold 0 (the anchor's action), got {offsets}."
        )
    if any(abs(offset) > most for offset in offsets):
        raise InvalidInputError(f"qp_offsets must lie within -{most}..{most}, got {offsets}.")
    return offsets


def _integers(what: str, values: Sequence[int]) -> tuple[int, ...]:
    try:
        numbers = tuple(operator.index(value) for value in values)
    except TypeError as error:
        raise InvalidInputError(f"{what}s must be integers, got {values!r}.") from error
    if not numbers:
        raise InvalidInputError(f"{what}s is empty: pass at least one.")
    return numbers


def find_sample(dataset: Sequence[Sample], choice: Any) -> Sample:
    """Return a Sample itself, or the data set's by index or by name."""
    return find_item(dataset, choice, Sample)


def find_item(dataset: Sequence[Item], choice: Any, kind: type[Item]) -> Item:
    """Return a sample or clip itself, or the data set's by index or by name."""
    if isinstance(choice, kind):
        return choice
    what = kind.__name__.lower()
    if isinstance(choice, str):
        return _by_name(dataset, choice, what)
    try:
        index = operator.index(choice)
    except TypeError as error:
        raise InvalidInputError(
            f"options[{what!r}] must be a {kind.__name__}, an index or a name, got {choice!r}."
        ) from error
    if not -len(dataset) <= index < len(dataset):
        raise InvalidInputError(
            f"options[{what!r}]={index}, but the data set has {len(dataset)} "
            f"{'images' if issubclass(kind, Sample) else 'clips'}: "
            f"0..{len(dataset) - 1}."
        )
    return dataset[index]


def _by_name(dataset: Sequence[Item], name: str, what: str) -> Item:
    names = names_of(dataset)
    if name in names:
        return dataset[names.index(name)]
    near = difflib.get_close_matches(name, names, n=1) or names[:1]
    raise InvalidInputError(f"No {what} is named {name!r}. Nearest: {near[0]!r}.")
