from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from torchmetrics.functional.segmentation import dice_score

from dmic_gym.errors import InvalidInputError
from dmic_gym.tasks.metrics import METRICS, PSNR_CAP, binarize, dice, expected_dice, iou, psnr
from dmic_gym.types import Mask


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


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10_000), st.floats(0.02, 0.98))
def test_a_certain_posterior_gives_the_true_dice(seed: int, share: float) -> None:
    rng = np.random.default_rng(seed)
    mask, truth = rng.random((2, 9, 9)) < share
    assert expected_dice(mask, truth.astype(np.float32)) == pytest.approx(dice(mask, truth))


def test_expected_dice_is_the_mean_over_draws() -> None:
    rng = np.random.default_rng(0)
    p = rng.beta(0.4, 2.0, (60, 60))
    mask = p > 0.4
    drawn = np.mean([dice(mask, rng.random(p.shape) < p) for _ in range(400)])
    assert expected_dice(mask, p) == pytest.approx(drawn, abs=0.002)


def test_expected_dice_of_nothing_and_of_two_shapes() -> None:
    assert expected_dice(np.zeros((2, 2), bool), np.zeros((2, 2))) == 1.0
    with pytest.raises(InvalidInputError, match="one image"):
        expected_dice(np.zeros((2, 2), bool), np.zeros((2, 3)))


@settings(max_examples=50, deadline=None)
@given(mask_pairs())
def test_iou_and_dice_say_the_same_of_a_pair(pair: tuple[Mask, Mask]) -> None:
    a, b = pair
    overlap = iou(a, b)
    assert dice(a, b) == pytest.approx(2 * overlap / (1 + overlap))
    if (a | b).any():
        assert overlap == pytest.approx((a & b).sum() / (a | b).sum())


def test_iou_names_itself() -> None:
    assert iou(np.zeros((2, 2), bool), np.zeros((2, 2), bool)) == 1.0
    with pytest.raises(InvalidInputError, match="iou: prediction is"):
        iou(np.zeros((2, 3), bool), np.zeros((3, 2), bool))
    assert {name: metric.label for name, metric in METRICS.items()} == {
        "dice": "Dice",
        "iou": "IoU",
    }


def test_psnr_by_hand() -> None:
    image = np.full((4, 5), 100, np.uint8)
    assert psnr(image, image) == PSNR_CAP
    assert psnr(image, image + np.uint8(5)) == pytest.approx(10 * np.log10(255**2 / 25))
    assert psnr(image * 0, image * 0 + np.uint8(255)) == pytest.approx(0)
