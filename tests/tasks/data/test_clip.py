"""A clip is what was passed, for good, and its groups cover it."""

from __future__ import annotations

import copy
import pickle
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dmic_gym.errors import InvalidInputError
from dmic_gym.tasks.data.clip import Clip, Gop
from tests.support import texture

FRAMES = np.stack([texture((5, 4), seed) for seed in range(3)])
MASKS = FRAMES > 100


def test_a_buffer_may_be_used_again() -> None:
    frames, masks = FRAMES.copy(), MASKS.copy()
    clip = Clip(frames, masks)
    frames[...], masks[...] = 0, False
    np.testing.assert_array_equal(clip.frames, FRAMES)
    np.testing.assert_array_equal(clip.masks, MASKS)
    with pytest.raises(ValueError, match="read-only"):
        clip.frames[0, 0, 0] = 1


def test_the_first_mask_is_told_unless_another_is_given() -> None:
    np.testing.assert_array_equal(Clip(FRAMES, MASKS).first_mask, MASKS[0])
    np.testing.assert_array_equal(Clip(FRAMES, None, MASKS[2]).first_mask, MASKS[2])
    np.testing.assert_array_equal(Clip(FRAMES, MASKS, MASKS[1]).first_mask, MASKS[1])
    assert Clip(FRAMES).first_mask is None


def test_copies_are_the_clip_and_pickle_keeps_it() -> None:
    clip = Clip(FRAMES, MASKS, name="camel")
    assert copy.deepcopy(clip) is clip is copy.copy(clip)
    again = pickle.loads(pickle.dumps(clip))
    np.testing.assert_array_equal(again.masks, clip.masks)
    assert again.name == "camel"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ((FRAMES[0],), r"np\.stack"),
        ((FRAMES.astype(np.float32),), "uint8"),
        ((FRAMES, MASKS[:2]), "2 masks for 3 frames"),
        ((FRAMES, FRAMES // 3), "mask holds"),
        ((FRAMES, MASKS[:, :3]), r"mask is \(3, 4\)"),
        ((FRAMES, None, MASKS), "mask is"),
    ],
)
def test_what_is_wrong_is_named(arguments: Any, words: str) -> None:
    with pytest.raises(InvalidInputError, match=words):
        Clip(*arguments)


@given(st.integers(1, 5))
def test_groups_cover_the_clip_in_order(length: int) -> None:
    clip = Clip(FRAMES, MASKS, name="camel")
    gops = clip.gops(length)
    np.testing.assert_array_equal(np.concatenate([gop.frames for gop in gops]), FRAMES)
    np.testing.assert_array_equal(np.concatenate([gop.masks for gop in gops]), MASKS)
    assert [len(gop) for gop in gops[:-1]] == [length] * (len(gops) - 1)
    assert gops[0].name == "camel@0"


@pytest.mark.parametrize("span", [(-1, 2), (1, 1), (0, 4)])
def test_frames_that_a_clip_does_not_have_are_refused(span: tuple[int, int]) -> None:
    with pytest.raises(InvalidInputError, match="which has 3"):
        Gop(Clip(FRAMES), *span)


def test_a_frame_can_be_had_as_a_still() -> None:
    sample = Clip(FRAMES, MASKS, name="camel").sample(1)
    assert sample.name == "camel/00001"
    np.testing.assert_array_equal(sample.image, FRAMES[1])
    np.testing.assert_array_equal(sample.mask, MASKS[1])
