from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from torchmetrics.functional.segmentation import dice_score

from dmic_gym.errors import InvalidInputError
from dmic_gym.tasks.metrics import binarize, dice

Mask = npt.NDArray[np.bool_]


@st.composite
def mask_pairs(draw: st.DrawFn) -> tuple[Mask, Mask]:
    shape = draw(array_shapes(min_dims=2, max_dims=2, max_side=24))
    masks = arrays(np.bool_, shape)
    return draw(masks), draw(masks)


@settings(max_examples=150, deadline=None)
@given(mask_pairs())
def test_dice_equals_torchmetrics(pair: tuple[Mask, Mask]) -> None:
    a, b = pair
    if not a.any() and not b.any():
        assert dice(a, b) == 1.0
        return
    x, y = (torch.from_numpy(np.stack([~m, m])[None].astype(np.int64)) for m in (a, b))
    expected = dice_score(x, y, num_classes=2, include_background=False, input_format="one-hot")
    assert dice(a, b) == pytest.approx(float(expected), abs=1e-6)


@settings(max_examples=50, deadline=None)
@given(mask_pairs())
def test_dice_is_symmetric_and_takes_integers(pair: tuple[Mask, Mask]) -> None:
    a, b = pair
    assert dice(a, b) == dice(b, a) == dice(a.astype(np.uint8), b.astype(np.float32))
    assert 0.0 <= dice(a, b) <= 1.0
    assert dice(a, a) == 1.0


def test_dice_by_hand() -> None:
    a = np.array([[1, 1, 0, 0]], bool)
    b = np.array([[0, 1, 1, 1]], bool)
    assert dice(a, b) == pytest.approx(2 * 1 / (2 + 3))
    assert dice(a, ~a) == 0.0
    assert dice(np.zeros((2, 2), bool), np.ones((2, 2), bool)) == 0.0


def test_dice_refuses_other_shapes_and_values() -> None:
    with pytest.raises(InvalidInputError, match=r"\(2, 3\).*\(3, 2\)"):
        dice(np.zeros((2, 3), bool), np.zeros((3, 2), bool))
    with pytest.raises(InvalidInputError, match="mask > 0"):
        dice(np.zeros((2, 2), bool), np.full((2, 2), 255, np.uint8))


def test_binarize_is_strict() -> None:
    assert binarize(np.array([0.0, 0.5, 0.51])).tolist() == [False, False, True]
    assert binarize(np.array([0.2, 0.4]), 0.3).tolist() == [False, True]
