"""Seeds, options and actions for many episodes, checked and spread over them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from dmic_gym.errors import InvalidInputError, checked_integer


def seeds_of(seed: int | Sequence[int | None] | None, count: int) -> Sequence[int | None]:
    """Return a seed for each sub-environment: ``seed + i``, or item i of a list."""
    if seed is None:
        return [None] * count
    if isinstance(seed, int | np.integer):
        return [int(seed) + row for row in range(count)]
    if len(seed) != count:
        raise InvalidInputError(
            f"seed holds {len(seed)} values for {count} sub-environments: pass one integer, or a "
            f"list of {count}."
        )
    return seed


def rows_of(mask: Any, count: int) -> list[int]:
    """Return the rows where ``options["reset_mask"]`` is True, all without one."""
    if mask is None:
        return list(range(count))
    array = np.asarray(mask)
    if array.dtype != np.bool_ or array.shape != (count,) or not array.any():
        raise InvalidInputError(
            f"options['reset_mask'] must be a bool array ({count},) with a True in it, got "
            f"{array.dtype} {array.shape}."
        )
    rows: list[int] = np.flatnonzero(array).tolist()
    return rows


def options_of(options: Mapping[str, Any], count: int) -> list[dict[str, Any]]:
    """Give each sub-environment its options: one value for all, or a list of one for each."""
    spread = [dict[str, Any]() for _ in range(count)]
    for key, value in options.items():
        many = isinstance(value, list | tuple | np.ndarray)
        if many and len(value) != count:
            raise InvalidInputError(
                f"options[{key!r}] holds {len(value)} values for {count} sub-environments: pass "
                "one value, or one for each."
            )
        for row, own in enumerate(spread):
            own[key] = value[row] if many else value
    return spread


def checked_groups(size: int, count: int) -> int:
    """Return the size of groups of sub-environments; raise InvalidInputError if they do not fit."""
    size = checked_integer("maps_per_image", size)
    if count % size:
        raise InvalidInputError(
            f"num_envs={count} is no multiple of maps_per_image={size}. Nearest: "
            f"num_envs={max(round(count / size), 1) * size}."
        )
    return size


def actions_of(actions: Any, count: int, choices: int) -> npt.NDArray[np.integer[Any]]:
    """Return integers (count,), 0..choices - 1; raise InvalidInputError otherwise."""
    array = np.asarray(actions)
    fits = array.shape == (count,) and np.issubdtype(array.dtype, np.integer)
    if not fits or array.min() < 0 or array.max() >= choices:
        raise InvalidInputError(
            f"Actions {actions!r} do not fit: pass {count} integer indices into qp_offsets, "
            f"0..{choices - 1}."
        )
    return array


def separate_unlike(infos: dict[str, Any], info: Mapping[str, Any]) -> None:
    """Let `infos` hold arrays of several shapes, such as QP maps of images of several sizes.

    Gymnasium stacks the arrays of one key and takes it that their shapes are equal.

    Args:
        infos: of a vector environment; arrays that an array of `info` does not fit become arrays
            of objects.
        info: of one sub-environment, about to be added.
    """
    for key, value in info.items():
        kept = infos.get(key)
        if not isinstance(value, np.ndarray) or not isinstance(kept, np.ndarray):
            continue
        if kept.dtype != object and kept.shape[1:] != value.shape:
            objects = np.full(len(kept), None, dtype=object)
            for row in np.flatnonzero(infos[f"_{key}"]):
                objects[row] = kept[row]
            infos[key] = objects
