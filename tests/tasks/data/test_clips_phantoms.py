"""Synthetic cine angiograms: the same for everybody, moving, with masks that move with them."""

from __future__ import annotations

import pickle
from itertools import pairwise
from typing import Any

import cv2
import numpy as np
import pytest

from dmic_gym.errors import InvalidInputError
from dmic_gym.tasks.data import PhantomClips, Phantoms, load_clips
from dmic_gym.tasks.metrics import dice
from dmic_gym.types import Image, Mask


def darkness(image: Image, mask: Mask) -> float:
    """How much darker the mask is than what surrounds it, in grey levels."""
    wide = cv2.dilate(mask.astype(np.uint8), np.ones((9, 9), np.uint8)) > 0
    return float(image[wide & ~mask].mean() - image[mask].mean())


def distance(mask: Mask, other: Mask) -> float:
    """How far the farthest 5 % of the other mask's pixels lie from this mask, in pixels."""
    away = cv2.distanceTransform(np.where(mask, 0, 1).astype(np.uint8), cv2.DIST_L2, 5)
    return float(np.quantile(away[other], 0.95))


def test_a_clip_depends_on_seed_number_and_size_alone() -> None:
    clips = load_clips("phantom-clips?count=3&size=96&frames=4&seed=5")
    assert isinstance(clips, PhantomClips)
    assert clips.names == [f"phantom-clip-5-{n:04d}" for n in range(3)]
    again, other = clips[2], pickle.loads(pickle.dumps(clips))[-1]
    assert np.array_equal(again.frames, other.frames)
    assert again.masks is not None
    assert np.array_equal(again.masks, other.masks)
    longer = PhantomClips(9, 96, 6, 5)[2]
    assert np.array_equal(longer.frames[:4], again.frames)
    assert not np.array_equal(PhantomClips(3, 96, 4, 6)[2].frames, again.frames)
    assert PhantomClips(1, (48, 64), 2)[0].frames.shape == (2, 48, 64)
    assert repr(clips) == "PhantomClips(count=3, size=(96, 96), frames=4, seed=5)"


@pytest.mark.parametrize("index", range(4))
def test_vessels_move_smoothly_and_their_masks_with_them(index: int) -> None:
    clip = PhantomClips(4, 192, 12, 0)[index]
    assert clip.masks is not None
    masks = list(clip.masks)
    assert max(distance(a, b) for a, b in pairwise(masks)) < 5
    assert max(distance(masks[0], mask) for mask in masks) > 1  # a beat takes the tree elsewhere
    own = [darkness(f, m) for f, m in zip(clip.frames, masks, strict=True)]
    assert min(own) > 3
    stale = int(np.argmin([dice(masks[0], mask) for mask in masks]))
    assert own[stale] > darkness(clip.frames[stale], masks[0])


def test_the_motion_is_a_beat_that_comes_back() -> None:
    clip = PhantomClips(1, 128, 30, 2)[0]
    assert clip.masks is not None
    like_first = [dice(clip.masks[0], mask) for mask in clip.masks]
    away = int(np.argmin(like_first[:16]))
    assert max(like_first[away:]) > like_first[away] + 0.1


def test_every_frame_has_noise_of_its_own() -> None:
    """Where nothing moves, in the collimator's shade or in flat tissue, two frames still differ."""
    clip = PhantomClips(1, 96, 3, 1)[0]
    difference = clip.frames[0].astype(int) - clip.frames[1]
    assert np.count_nonzero(difference) > difference.size / 2


def test_patients_are_not_those_of_the_images() -> None:
    clip, image = PhantomClips(1, 96, 1, 3)[0], Phantoms(1, 96, 3)[0]
    assert clip.masks is not None
    assert image.mask is not None
    assert dice(clip.masks[0], image.mask) < 0.5


@pytest.mark.parametrize(
    "wrong", [{"frames": 0}, {"count": -1}, {"size": 8}, {"size": (1, 2, 3)}, {"seed": "a"}]
)
def test_numbers_out_of_range(wrong: dict[str, Any]) -> None:
    with pytest.raises(InvalidInputError, match=next(iter(wrong))):
        PhantomClips(**wrong)
