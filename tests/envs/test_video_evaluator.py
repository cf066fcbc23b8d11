"""What the evaluator of video says of a group of pictures."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from dmic_gym.codecs.hevc.x265 import X265Codec
from dmic_gym.envs.evaluator import Anchors, Figures
from dmic_gym.envs.rewards import LinearReward, PricedReward, RateSavingReward
from dmic_gym.envs.video_evaluator import GopReference, VideoEvaluator
from dmic_gym.errors import InvalidInputError, SegmenterError
from dmic_gym.tasks.data.clip import Clip, Gop
from dmic_gym.tasks.metrics import binarize, dice, iou, psnr
from dmic_gym.tasks.segmenters.protocol import PerClipSegmenter, Segmenter
from dmic_gym.types import Images, Probabilities
from tests.envs.video_support import QP, SHAPE, moving_clip, small_evaluator
from tests.support import random_map, vesselness

pytestmark = pytest.mark.skipif(
    not hasattr(X265Codec, "video"), reason="x265 has no streams on this commit"
)


@pytest.fixture(scope="module")
def evaluator() -> VideoEvaluator:
    return small_evaluator()


@pytest.fixture(scope="module")
def reference(evaluator: VideoEvaluator) -> GopReference:
    return evaluator.reference(Gop(moving_clip(), 0, 4))


def maps(count: int, seed: int = 0) -> list[Any]:
    return [random_map(SHAPE, 32, seed + n, 22, 47) for n in range(count)]


def test_a_reference_holds_what_the_segmenter_sees_on_the_original_frames(
    reference: GopReference,
) -> None:
    frames = reference.gop.frames
    np.testing.assert_array_equal(reference.importance, vesselness(frames))
    np.testing.assert_array_equal(reference.masks, vesselness(frames) > 0.5)
    assert reference.name == "moving@0"
    assert reference.pixels == 4 * 64 * 96


@pytest.mark.parametrize(
    ("gop", "scored"),
    [
        (Gop(moving_clip(), 0, 3), [False, True, True]),
        (Gop(moving_clip(), 1, 3), [True, True]),
        (Gop(moving_clip(masks=False), 0, 2), [True, True]),
    ],
)
def test_the_frame_whose_mask_was_given_is_not_scored(
    evaluator: VideoEvaluator, gop: Gop, scored: list[bool]
) -> None:
    assert evaluator.reference(gop).scored.tolist() == scored


def test_a_session_shows_each_frame_before_it_is_coded(
    evaluator: VideoEvaluator, reference: GopReference
) -> None:
    with evaluator.open(reference, QP) as session:
        assert session.previous is None
        np.testing.assert_array_equal(session.importance, reference.importance[0])
        for index, qp_map in enumerate(maps(4)):
            assert (session.index, session.over) == (index, False)
            np.testing.assert_array_equal(session.frame, reference.gop.frames[index])
            result = session.encode(qp_map)
            np.testing.assert_array_equal(session.previous, result.encoded.reconstruction)
            if not session.over:
                np.testing.assert_array_equal(session.importance, result.probability)
        assert session.over
        with pytest.raises(InvalidInputError, match="4 frames are coded"):
            session.encode(qp_map)


def test_importance_of_the_original_frames_can_be_asked_for(reference: GopReference) -> None:
    with small_evaluator("original").open(reference, QP) as session:
        session.encode(maps(1)[0])
        np.testing.assert_array_equal(session.importance, reference.importance[1])


def test_figures_are_those_of_the_decoded_frames(
    evaluator: VideoEvaluator, reference: GopReference
) -> None:
    result = evaluator.score(reference, QP, maps(4))
    gop = reference.gop
    decoded = evaluator.codec.decode(result.bitstream)
    seen = binarize(vesselness(np.asarray(decoded, np.uint8)))
    assert gop.masks is not None
    figures = result.figures
    assert figures.bits == 8 * len(result.bitstream)
    expert = list(zip(seen, gop.masks, strict=True))[1:]
    own = list(zip(seen, reference.masks, strict=True))[1:]
    assert figures.dice == pytest.approx(np.mean([dice(*pair) for pair in expert]))
    assert figures.iou == pytest.approx(np.mean([iou(*pair) for pair in expert]))
    assert figures.consistency_dice == pytest.approx(np.mean([dice(*pair) for pair in own]))
    noise = [psnr(*pair) for pair in zip(gop.frames, decoded, strict=True)]
    assert figures.psnr == pytest.approx(np.mean(noise))
    np.testing.assert_array_equal(result.qp_maps, np.stack(maps(4)))


def test_frame_by_frame_is_the_same_as_all_at_once(
    evaluator: VideoEvaluator, reference: GopReference
) -> None:
    with evaluator.open(reference, QP) as session:
        for qp_map in maps(4, seed=5):
            session.encode(qp_map)
    again = evaluator.score(reference, QP, maps(4, seed=5))
    assert session.result().bitstream == again.bitstream
    assert session.result().figures == again.figures


def test_the_anchor_is_the_base_qp_everywhere_and_is_coded_once(
    reference: GopReference, monkeypatch: pytest.MonkeyPatch
) -> None:
    evaluator = small_evaluator()
    flat = [np.full((2, 3), QP)] * 4
    expected = evaluator.score(reference, QP, flat)
    assert evaluator.uniform(reference, QP)[0].bitstream == expected.bitstream
    monkeypatch.setattr(evaluator, "open", None)
    assert evaluator.anchor(reference, QP) == expected.figures
    assert evaluator.uniform(reference, QP)[0].figures == expected.figures


@pytest.mark.parametrize("reward", [PricedReward(), LinearReward(), RateSavingReward()])
def test_rewards_of_images_judge_groups_of_pictures(
    evaluator: VideoEvaluator, reference: GopReference, reward: Any
) -> None:
    anchors = Anchors(evaluator, reference, QP)
    assert sum(reward(anchors.base, anchors).values()) == pytest.approx(0.0, abs=1e-9)
    fewer = Figures(anchors.base.bits // 2, 0, anchors.base.dice, 1.0, 30.0)
    assert sum(reward(fewer, anchors).values()) > 0.2


def test_without_expert_masks_there_is_consistency_alone(evaluator: VideoEvaluator) -> None:
    reference = evaluator.reference(Gop(moving_clip(masks=False), 0, 2))
    figures = evaluator.anchor(reference, QP)
    assert (figures.dice, figures.iou) == (None, None)
    assert figures.quality == figures.consistency_dice


def test_where_no_frame_is_scored_all_count(evaluator: VideoEvaluator) -> None:
    alone = evaluator.reference(Gop(moving_clip(), 0, 1))
    assert (alone.scored.tolist(), alone.counted.tolist()) == ([False], [True])
    assert (
        evaluator.anchor(alone, QP).dice == evaluator.uniform(alone, QP)[0].frames[0].figures.dice
    )


def test_each_clip_has_its_own_segmenter() -> None:
    class ByName(PerClipSegmenter):
        def for_clip(self, clip: Clip) -> Segmenter:
            return lambda images: np.full(images.shape, float(clip.name), np.float32)

        def describe(self) -> dict[str, str]:
            return {}

    evaluator = VideoEvaluator(X265Codec(32, "ultrafast"), ByName())
    for name in ("0.25", "0.75"):  # equal frames: what is kept of one clip is not the other's
        reference = evaluator.reference(Gop(moving_clip(name=name), 0, 2))
        assert np.unique(reference.importance).tolist() == [float(name)]
        with evaluator.open(reference, QP) as session:
            assert np.unique(session.encode(maps(1)[0]).probability).tolist() == [float(name)]


def test_overlapping_groups_segment_each_original_frame_once() -> None:
    asked = []

    def counting(images: Images) -> Probabilities:
        asked.append(len(images))
        return vesselness(images)

    evaluator = VideoEvaluator(X265Codec(32, "ultrafast"), counting)
    clip = moving_clip()
    for start in (0, 1, 0):
        evaluator.reference(Gop(clip, start, start + 3))
    assert sum(asked) == 4


def test_a_session_ends_where_a_frame_fails(reference: GopReference) -> None:
    evaluator = small_evaluator()
    with evaluator.open(reference, QP) as session:
        session.encode(maps(1)[0])
        session._segmenter = lambda _: 1 / 0  # type: ignore[assignment]
        with pytest.raises(SegmenterError, match="ZeroDivisionError"):
            session.encode(maps(1)[0])
        with pytest.raises(InvalidInputError, match="frame failed"):
            session.encode(maps(1)[0])
        with pytest.raises(InvalidInputError, match="1 of 4 frames"):
            session.result()


def test_a_wrong_number_of_maps_says_so(evaluator: VideoEvaluator, reference: GopReference) -> None:
    with pytest.raises(InvalidInputError, match="has 4 frames, got 3 QP maps"):
        evaluator.score(reference, QP, maps(3))


def test_wrong_arguments_say_what_to_pass() -> None:
    class Stills:
        ctu_size, qp_range = 64, (0, 51)

    with pytest.raises(InvalidInputError, match="Stills codes stills only"):
        VideoEvaluator(Stills(), vesselness)  # type: ignore[arg-type]
    with pytest.raises(InvalidInputError, match="Did you mean 'original'"):
        VideoEvaluator(X265Codec(32), vesselness, importance="orignal")  # type: ignore[arg-type]
