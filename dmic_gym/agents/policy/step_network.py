"""The layers of a `DMICPolicy` that see decisions, in NumPy: what one step costs."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from torch import nn

from dmic_gym.agents.policy.trunk import GAIN, MIDDLE, CTUTrunk, DMICPolicy
from dmic_gym.envs.image_view import SIDE, ImageView

Array = npt.NDArray[np.float32]

_PATCH = 4
_GRID = SIDE // _PATCH
_CELLS = _GRID // 2
"""Sides of the first convolution's squares, and of what it and the second one make."""


class StepNetwork:
    """Computes the mean action of a CTU from static features, decisions and numbers.

    A decision changes a few squares of ``progress``, so what the convolutions made of the others
    is kept.

    Args:
        policy: whose weights are copied.
    """

    def __init__(self, policy: DMICPolicy) -> None:
        trunk: Any = policy.features_extractor
        squares, _, joined = trunk.decisions
        self._squares = _flat(squares.weight, (1, 2, 3, 0)) / np.float32(255), _array(squares.bias)
        self._joined = _flat(joined.weight, (2, 3, 1, 0)), _array(joined.bias)
        self._survey = _flat(trunk.survey[1].weight, (1, 2, 3, 0)), _array(trunk.survey[1].bias)
        self._split(trunk)
        head = [*policy.mlp_extractor.policy_net, policy.action_net]
        dense = [layer for layer in [*trunk.merge[1:], *head] if isinstance(layer, nn.Linear)]
        self._dense = [(_flat(layer.weight, (1, 0)), _array(layer.bias)) for layer in dense]
        self._order = np.arange(len(self._dense[-1][1]), dtype=np.float32)

    def begin(self, ctus: Array, frame: Array, view: ImageView) -> None:
        """Start with a frame.

        Args:
            ctus: float (N, 128), static features of its CTUs.
            frame: float (32, 8, 8), those of the frame.
            view: says where its CTUs lie.
        """
        self._seen = ctus @ self._of_ctus + self._bias
        self._frame = np.ascontiguousarray(frame.transpose(1, 2, 0)) + self._joined[1]
        channels = len(self._squares[1])
        self._made = np.zeros((_GRID + 2, _GRID + 2, channels), np.float32)
        down, across, along = self._made.strides
        self._around = np.lib.stride_tricks.as_strided(
            self._made,
            (_CELLS, _CELLS, 3, 3, channels),
            (2 * down, 2 * across, down, across, along),
        )
        self._picture = np.zeros_like(self._frame)
        self._weights = _weights(view)

    def update(self, progress: npt.NDArray[np.uint8], where: tuple[slice, slice]) -> None:
        """See what has changed of ``progress``, uint8 (2, 64, 64), within a rectangle of it."""
        (top, bottom), (left, right) = [(s.start // _PATCH, -(-s.stop // _PATCH)) for s in where]
        rows, cols = bottom - top, right - left
        area = progress[:, _PATCH * top : _PATCH * bottom, _PATCH * left : _PATCH * right]
        area = area.reshape(2, rows, _PATCH, cols, _PATCH).transpose(1, 3, 0, 2, 4)
        made = area.reshape(rows * cols, -1).astype(np.float32) @ self._squares[0]
        made = (made + self._squares[1]).reshape(rows, cols, -1)
        np.maximum(made, 0, out=self._made[top + 1 : bottom + 1, left + 1 : right + 1])
        reached = np.s_[top // 2 : bottom // 2 + 1, left // 2 : right // 2 + 1]
        around, frame = self._around[reached], self._frame[reached]
        seen = around.reshape(-1, len(self._joined[0])) @ self._joined[0]
        seen += frame.reshape(seen.shape)
        seen = np.maximum(seen, 0, out=seen) @ self._survey[0]
        seen += self._survey[1]
        np.maximum(seen.reshape(frame.shape), 0, out=self._picture[reached])

    def mean_action(self, index: int, numbers: Array) -> float:
        """Return the mean action of a CTU from ``features`` and ``video``, as one array."""
        width = self._picture.shape[-1]
        near_and_far = self._weights[index] @ self._picture.reshape(-1, width)
        x = np.concatenate([near_and_far.ravel(), numbers]) @ self._of_the_rest
        x += self._seen[index]
        for weight, bias in self._dense:
            x = np.maximum(x, 0, out=x) @ weight
            x += bias
        likely = np.exp(x - x.max())
        return float(likely @ self._order / likely.sum())

    def _split(self, trunk: CTUTrunk) -> None:
        """Take the first dense layer apart into that of CTUs and that of the rest, scaled."""
        first: Any = trunk.merge[0]
        shown = _array(trunk.shown)
        weight, bias = _flat(first.weight, (1, 0)), _array(first.bias)
        scaled = GAIN * shown[:, np.newaxis] * weight[-len(shown) :]
        seen: Any = trunk.ctu[-2]
        self._of_ctus = weight[: seen.out_features]
        between = weight[seen.out_features : -len(shown)]
        self._of_the_rest = np.concatenate([between, scaled])
        self._bias = bias - MIDDLE * scaled.sum(axis=0)


def _array(tensor: Any) -> Array:
    array: Array = tensor.detach().cpu().numpy().copy()
    return array


def _flat(weight: Any, order: tuple[int, ...]) -> Array:
    """Return a layer's weights as float (inputs, outputs); `order` puts the outputs last."""
    turned = _array(weight).transpose(order)
    return np.ascontiguousarray(turned.reshape(-1, turned.shape[-1]))


def _weights(view: ImageView) -> Array:
    """Return what weighs the 8x8 cells of a picture at each CTU, and all, (CTUs, 2, 64)."""
    rows = np.stack([_share(view.cell(row * view.cols)[0]) for row in range(view.rows)])
    cols = np.stack([_share(view.cell(col)[1]) for col in range(view.cols)])
    near = np.einsum("ry,cx->rcyx", rows, cols).reshape(view.count, -1)
    return np.stack([near, np.full_like(near, 1.0 / near.shape[1])], axis=1)


def _share(span: slice) -> Array:
    """Return how a span of a thumbnail's pixels is shared by its 8 cells."""
    cells = np.arange(span.start, span.stop) * _CELLS // SIDE
    return (np.bincount(cells, minlength=_CELLS) / len(cells)).astype(np.float32)
