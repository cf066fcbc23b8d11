"""The definition of a sweep: a TOML file, and the grid of cells that it spans."""

from __future__ import annotations

import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from itertools import product
from pathlib import Path
from typing import Any

from dmic_gym.agents.registry import draws
from dmic_gym.bench.cells import HEVC_CODECS, Cell, find_still
from dmic_gym.bench.protocol import ANCHOR, RIVAL, STANDARD_QPS
from dmic_gym.codecs.base import check_ctu_size
from dmic_gym.codecs.hevc.params import check_preset
from dmic_gym.envs.settings import check_base_qps
from dmic_gym.errors import DataError, DmicError, InvalidInputError, unknown_name
from dmic_gym.tasks.registry import find_task, task_of


@dataclass(frozen=True)
class Definition:
    """The axes of a sweep, each a tuple without repetitions, and what all cells share.

    Attributes:
        data: data sets of images, see `load_dataset`, or of clips, see `load_clips`.
        agents: specs, see `make_agent`; the anchor always takes part.
        base_qps: base QPs by name of the set, the headline set first. A BD-rate needs three.
        ctu_sizes: 64, 32, 16.
        presets: x265's.
        codecs: ``"x265"``, ``"ffmpeg"``, and names of still codecs.
        seeds: of agents that draw.
        qualities: settings of still codecs, by name; those not named take the codec's own.
        images: how many first images of each data set; None takes all.
        segmenter: name or path of weights, or ``module:object``.
        second: the same, for the network that only scores; empty for none.
        compare: agents with which each other one is compared besides the anchor, where they
            take part.
        gop: frames of a clip that are coded together, the first of them intra.
    """

    data: tuple[str, ...]
    agents: tuple[str, ...] = (ANCHOR, "random", "roi")
    base_qps: Mapping[str, tuple[int, ...]] = field(
        default_factory=lambda: {"standard": STANDARD_QPS}
    )
    ctu_sizes: tuple[int, ...] = (64,)
    presets: tuple[str, ...] = ("medium",)
    codecs: tuple[str, ...] = ("x265",)
    seeds: tuple[int, ...] = (0,)
    qualities: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    images: int | None = None
    segmenter: str = "unet"
    second: str = "second"
    compare: tuple[str, ...] = (RIVAL,)
    gop: int = 10

    @classmethod
    def read(cls, path: str | Path) -> Definition:
        """Read a TOML file whose keys are the attributes; only ``data`` is needed.

        ``base_qps`` may be one list or a table of lists.

        Raises:
            DataError: the file cannot be read.
            InvalidInputError: it is no TOML, or a key or value is not valid.
        """
        try:
            data = Path(path).read_bytes()
        except OSError as error:
            raise DataError(
                f"Cannot read {str(path)!r}: {error.strerror}. Pass a sweep such as "
                "benchmarks/quick.toml."
            ) from error
        try:
            return cls.of(tomllib.loads(data.decode()))
        except (tomllib.TOMLDecodeError, UnicodeDecodeError, RecursionError) as error:
            raise InvalidInputError(f"{path} is no TOML: {error}.") from error
        except DmicError as error:
            raise type(error)(f"{path}: {error}") from error

    @classmethod
    def of(cls, given: Mapping[str, Any]) -> Definition:
        """Check a definition of plain types, such as TOML's or `as_dict`'s.

        ``task``, the name of a task, stands for its images and networks.

        Raises:
            InvalidInputError: a key or value is not valid; the message says what to type.
        """
        known = ["task", *(field.name for field in fields(cls))]
        for key in given:
            if key not in known:
                raise unknown_name("key", key, known)
        given = _with_task(given)
        if "data" not in given:
            raise InvalidInputError('data is missing: type data = ["phantoms?count=6"].')
        definition = cls(**{key: _checked(key, value) for key, value in given.items()})
        _check_names(definition)
        return definition

    def as_dict(self) -> dict[str, Any]:
        """Return the definition as JSON types; `of` takes it back."""
        return asdict(self)

    @property
    def all_base_qps(self) -> list[int]:
        """The base QPs of all sets, ascending."""
        return sorted({qp for qps in self.base_qps.values() for qp in qps})

    def cells(self, data: str, image: str, *, clip: bool = False) -> Iterator[Cell]:
        """Yield the cells of one image or clip: what can share an encoder comes together.

        Raises:
            InvalidInputError: a codec codes no clips.
        """
        if clip and (stills := [codec for codec in self.codecs if codec != HEVC_CODECS[0]]):
            raise InvalidInputError(
                f'{data} holds clips, and {stills[0]} codes none: type codecs = ["x265"].'
            )
        gop = self.gop if clip else None
        one = Cell(data, image, segmenter=self.segmenter, second=self.second, gop=gop)
        hevc = [codec for codec in self.codecs if codec in HEVC_CODECS]
        for codec, ctu_size, preset in product(hevc, self.ctu_sizes, self.presets):
            coded = replace(one, codec=codec, ctu_size=ctu_size, preset=preset)
            for qp, agent in product(self.all_base_qps, dict.fromkeys([ANCHOR, *self.agents])):
                for seed in self.seeds if draws(agent) else (0,):
                    yield replace(coded, agent=agent, base_qp=qp, seed=seed)
        for codec in self.codecs:
            if codec not in HEVC_CODECS:
                for quality in self.qualities.get(codec) or find_still(codec).qualities:
                    yield replace(one, codec=codec, quality=quality)


def _with_task(given: Mapping[str, Any]) -> dict[str, Any]:
    """Return the definition with a task's data and networks in place of its name."""
    rest = {key: value for key, value in given.items() if key != "task"}
    if "task" not in given:
        return rest
    find_task(given["task"])
    task = task_of(given["task"], given.get("segmenter"), given.get("second"))
    networks = {"segmenter": task.segmenter or "unet", "second": task.second or ""}
    return {"data": [str(task.test)], **networks} | rest


_EXAMPLES: Mapping[str, Sequence[str | int]] = {
    "data": ["$DMIC_DATA/angiograms/test"],
    "agents": ["anchor", "search:50"],
    "base_qps": [22, 27, 32, 37],
    "ctu_sizes": [64, 32],
    "presets": ["medium"],
    "codecs": ["x265", "jpeg"],
    "seeds": [0, 1],
    "qualities": [10, 30, 50, 70],
    "compare": ["roi"],
}
"""What a valid list of each key looks like."""


def _checked(key: str, value: Any) -> Any:
    match key:
        case "segmenter" | "second":
            return _text(key, value)
        case "images" | "gop":
            return _count(key, value)
        case "qualities":
            return _table(key, value)
        case "base_qps":
            return _table(key, value if isinstance(value, Mapping) else {"custom": value})
        case _:
            return _list(key, value, key)


def _text(key: str, value: Any) -> str:
    if not isinstance(value, str):
        example = "unet" if key == "segmenter" else "second"
        raise InvalidInputError(f'{key} = {value!r} is no name: type {key} = "{example}".')
    return value


def _count(key: str, value: Any) -> int | None:
    if value is not None and (type(value) is not int or value < 1):
        raise InvalidInputError(f"{key} = {value!r}: type a number of 1 or more, or leave it out.")
    return value


def _table(key: str, value: Any) -> dict[str, tuple[Any, ...]]:
    if not isinstance(value, Mapping):
        raise InvalidInputError(
            f"{key} = {value!r} is no table: type [{key}] and below it jpeg = {_EXAMPLES[key]}."
        )
    return {name: _list(key, part, name) for name, part in value.items()}


def _list(key: str, value: Any, name: str) -> tuple[Any, ...]:
    example = _EXAMPLES[key]
    valid = isinstance(value, list | tuple) and (value or key == "compare")
    if not valid or any(type(one) is not type(example[0]) for one in value):
        shown = str(example).replace("'", '"')
        raise InvalidInputError(f"{name} = {value!r} is not valid: type {name} = {shown}.")
    return tuple(dict.fromkeys(value))


def _check_names(definition: Definition) -> None:
    """Raise for a value that no environment or codec would take; agents need one to be made."""
    check_base_qps(definition.all_base_qps)
    for size in definition.ctu_sizes:
        check_ctu_size(size)
    for preset in definition.presets:
        check_preset(preset)
    for codec in (*definition.codecs, *definition.qualities):
        if codec not in HEVC_CODECS:
            find_still(codec)
