"""Frames of clips as images: all but the first, named after clip and frame, read lazily."""

from __future__ import annotations

import pickle

import numpy as np
import pytest

from dmic_gym.errors import InvalidInputError
from dmic_gym.tasks.data.clip import Clip
from dmic_gym.tasks.data.clips.phantoms import PhantomClips
from dmic_gym.tasks.data.clips.stills import Stills, clip_name


class CountedClips(PhantomClips):
    """Says which clips were made, in order."""

    def __init__(self, count: int, size: int, frames: int) -> None:
        super().__init__(count, size, frames)
        self.made: list[int] = []

    def _read(self, index: int) -> Clip:
        self.made.append(index)
        return super()._read(index)


def test_frames_behind_the_first_are_images_with_their_masks() -> None:
    clips = PhantomClips(2, 64, 3)
    stills = Stills(clips)
    names = [f"phantom-clip-0-{clip:04}/{frame:05}" for clip in (0, 1) for frame in (1, 2)]
    assert stills.names == names
    assert [sample.name for sample in pickle.loads(pickle.dumps(stills))] == names
    assert [clip_name(sample) for sample in stills[1:3]] == clips.names
    clip, last = clips[1], stills[-1]
    assert clip.masks is not None
    assert last.mask is not None
    assert np.array_equal(last.image, clip.frames[2])
    assert np.array_equal(last.mask, clip.masks[2])


def test_one_clip_is_kept_and_none_is_read_for_each_frame() -> None:
    clips = CountedClips(2, 64, 4)
    stills = Stills(clips)
    assert clips.made == [0, 1]
    assert len(list(stills)) == 6
    assert clips.made == [0, 1, 0, 1]


def test_frames_without_masks_have_none() -> None:
    frames = np.zeros((2, 16, 16), np.uint8)
    (still,) = Stills([Clip(frames, first_mask=np.ones((16, 16), np.bool_), name="told")])
    assert still.mask is None
    assert still.name == "told/00001"


def test_clips_of_one_frame_leave_nothing() -> None:
    with pytest.raises(InvalidInputError, match="2 frames or more"):
        Stills(PhantomClips(3, 64, 1))
