"""Each frame that is coded as an image is segmented by the segmenter of its clip."""

from __future__ import annotations

import numpy as np
import pytest

from dmic_gym.codecs.hevc.x265 import X265Codec
from dmic_gym.envs.evaluator import Evaluator
from dmic_gym.errors import InvalidInputError
from dmic_gym.tasks.data.clip import Clip
from dmic_gym.tasks.data.clips.stills import Stills
from dmic_gym.tasks.segmenters.find import describe_segmenter
from dmic_gym.tasks.segmenters.protocol import PerClipSegmenter, Segmenter
from dmic_gym.tasks.segmenters.stills import StillSegmenters, segmenter_of_stills
from dmic_gym.types import Images, Probabilities
from tests.envs.video_support import moving_clip
from tests.support import vesselness


class FromFirstMask(PerClipSegmenter):
    """Takes for the object what is as bright as it was in the first frame."""

    def for_clip(self, clip: Clip) -> Segmenter:
        assert clip.first_mask is not None
        level = float(clip.frames[0][clip.first_mask].mean())

        def segment(images: Images, /) -> Probabilities:
            away = np.abs(images.astype(np.float32) - level)
            return np.asarray(np.exp(-away / 32.0), np.float32)

        return segment

    def describe(self) -> dict[str, str]:
        return {"name": "from-first-mask", "sha256": "5" * 64, "dtype": "float32"}


CLIPS = [moving_clip(3), moving_clip(3, seed=1, name="other")]


def test_a_frame_has_the_segmenter_of_its_clip() -> None:
    own = FromFirstMask()
    evaluator = Evaluator(X265Codec(32, "ultrafast"), segmenter_of_stills(own, CLIPS), workers=2)
    references = evaluator.references(Stills(CLIPS)[:])
    for place, reference in enumerate(references):
        clip = CLIPS[place // 2]
        expected = own.for_clip(clip)(clip.frames[1 + place % 2][None])[0]
        np.testing.assert_array_equal(reference.importance, expected)
    evaluator.close()


def test_it_is_known_by_the_name_of_the_segmenter_of_clips() -> None:
    own = FromFirstMask()
    stills = StillSegmenters(own, CLIPS)
    assert describe_segmenter(stills) == describe_segmenter(own)
    assert stills.for_sample(CLIPS[0].sample(1)) is stills.for_sample(CLIPS[0].sample(2))


def test_a_plain_segmenter_serves_as_it_is() -> None:
    assert segmenter_of_stills(vesselness, CLIPS) is vesselness


def test_strange_frames_and_clips_of_one_name_are_refused() -> None:
    with pytest.raises(InvalidInputError, match="Stills"):
        StillSegmenters(FromFirstMask(), CLIPS[:1]).for_sample(CLIPS[1].sample(1))
    with pytest.raises(InvalidInputError, match="own name"):
        StillSegmenters(FromFirstMask(), [CLIPS[0], CLIPS[0]])
