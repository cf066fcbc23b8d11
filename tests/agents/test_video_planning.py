from __future__ import annotations

import numpy as np
import pytest

from dmic_gym.agents.registry import draws, make_agent
from dmic_gym.agents.search.gop_objective import GopObjective
from dmic_gym.agents.search.tables import TABLE_QPS, build_tables
from dmic_gym.agents.video_planning import GopPlan, NextFrame, RulePlanner
from dmic_gym.agents.video_registry import GOP_AGENTS, GOP_DESCRIPTIONS, make_gop_planner
from dmic_gym.agents.video_rules import HM_CASCADE, CapRule, GradedRule, ROIRule, object_ctus
from dmic_gym.codecs.hevc.x265 import X265Codec
from dmic_gym.envs.coding_env import CodingEnv
from dmic_gym.envs.video_evaluator import GopReference, VideoEvaluator
from dmic_gym.errors import InvalidInputError
from dmic_gym.types import QPMap
from tests.envs.video_support import moving_clip, small_evaluator

QP = 32


@pytest.fixture(scope="module")
def evaluator() -> VideoEvaluator:
    return small_evaluator()


@pytest.fixture(scope="module")
def reference(evaluator: VideoEvaluator) -> GopReference:
    (gop,) = moving_clip(4).gops(4)
    return evaluator.reference(gop)


def plan(evaluator: VideoEvaluator, reference: GopReference, spec: str, qp: int = QP) -> GopPlan:
    return make_gop_planner(spec, evaluator).plan(evaluator, reference, qp)


def spot(row: slice, col: slice, base_qp: int = QP) -> NextFrame:
    """A frame of 4x5 CTUs of 32, the object in some of its pixels."""
    importance = np.zeros((128, 150), np.float32)
    importance[row, col] = 0.9
    image = np.zeros((128, 150), np.uint8)
    return NextFrame(1, image, importance, base_qp, X265Codec(32, "ultrafast"))


def test_the_anchor_is_the_evaluators_anchor(
    evaluator: VideoEvaluator, reference: GopReference
) -> None:
    found = plan(evaluator, reference, "anchor")
    assert found.result.figures == evaluator.anchor(reference, QP)
    assert found.encodes == 1


def test_random_is_drawn_by_content_base_qp_and_seed(
    evaluator: VideoEvaluator, reference: GopReference
) -> None:
    first, again = (plan(evaluator, reference, "random") for _ in range(2))
    other = make_gop_planner("random", evaluator, seed=1).plan(evaluator, reference, QP)
    assert first.result.bitstream == again.result.bitstream
    assert first.result.bitstream != other.result.bitstream
    maps = first.result.qp_maps
    assert any((maps[0] != one).any() for one in maps[1:])


def test_the_object_is_every_ctu_that_it_touches_and_those_around() -> None:
    frame = spot(slice(33, 34), slice(64, 65))
    expected = np.zeros((4, 5), bool)
    expected[0:3, 1:4] = True
    np.testing.assert_array_equal(object_ctus(frame), expected)
    np.testing.assert_array_equal(object_ctus(frame, threshold=0.95), np.zeros((4, 5), bool))
    np.testing.assert_array_equal(object_ctus(frame, dilation=0).sum(), 1)


@pytest.mark.parametrize(("base_qp", "spared"), [(22, 32), (27, 36), (36, 36), (42, 42), (51, 51)])
def test_the_cap_spares_the_rest_up_to_36_and_never_refines_it(base_qp: int, spared: int) -> None:
    qps = CapRule()(spot(slice(0, 1), slice(0, 1), base_qp))
    assert qps[0, 0] == base_qp
    assert np.unique(qps.flat[1:]).tolist() == [spared]


@pytest.mark.parametrize(("base_qp", "spared"), [(22, 32), (27, 36), (36, 40), (50, 51)])
def test_graded_spares_more_with_the_distance_from_the_object(base_qp: int, spared: int) -> None:
    qps = GradedRule()(spot(slice(0, 1), slice(0, 1), base_qp))
    assert qps[0, 0] == base_qp
    ring = [qps[0, 1], qps[1, 0], qps[1, 1]]
    assert ring == [min(base_qp + 2, 51)] * 3
    assert qps[3, 4] == qps[0, 2] == spared


@pytest.mark.parametrize(("base_qp", "spared"), [(22, 26), (49, 51)])
def test_roi_adds_its_offset_within_the_codecs_range(base_qp: int, spared: int) -> None:
    qps = ROIRule(4)(spot(slice(0, 1), slice(0, 1), base_qp))
    assert qps[0, 0] == base_qp
    assert qps[3, 4] == spared


def test_rules_look_at_the_previous_reconstruction(
    evaluator: VideoEvaluator, reference: GopReference
) -> None:
    seen: list[NextFrame] = []

    def looking(frame: NextFrame) -> QPMap:
        seen.append(frame)
        return ROIRule(9)(frame)

    found = RulePlanner(looking).plan(evaluator, reference, QP).result
    assert [frame.index for frame in seen] == [0, 1, 2, 3]
    known = [reference.importance[0], *(frame.probability for frame in found.frames[:-1])]
    for frame, importance, image in zip(seen, known, reference.gop.frames, strict=True):
        np.testing.assert_array_equal(frame.importance, importance)
        np.testing.assert_array_equal(frame.image, image)
    spec = plan(evaluator, reference, "roi:9").result
    assert spec.bitstream == found.bitstream


def test_the_cascade_is_flat_in_a_frame_and_hms_over_frames(
    evaluator: VideoEvaluator, reference: GopReference
) -> None:
    maps = plan(evaluator, reference, "cascade").result.qp_maps
    assert [np.unique(one).tolist() for one in maps] == [
        [QP + offset] for offset in (0, *HM_CASCADE[:3])
    ]


def test_tables_hold_the_groups_bits_and_masks(
    evaluator: VideoEvaluator, reference: GopReference
) -> None:
    objective = GopObjective(evaluator, reference, reference.importance, QP)
    tables = build_tables(objective, (26, 37))
    assert objective.encodes == 2
    for index, qp in enumerate((26, 37)):
        result, _ = evaluator.uniform(reference, qp)
        assert tables.bits[index].sum() == pytest.approx(result.figures.slice_bits)
        scored = [frame.mask.sum() for frame in result.frames[1:]]  # the first mask was given
        assert tables.area[index].sum() == sum(scored)


@pytest.mark.parametrize(
    ("spec", "encodes"), [("table", len(TABLE_QPS) + 1), ("search:30", 30), ("oracle", 13)]
)
def test_agents_that_try_share_one_map_among_the_frames(
    evaluator: VideoEvaluator, reference: GopReference, spec: str, encodes: int
) -> None:
    found, again = (plan(evaluator, reference, spec, 37) for _ in range(2))
    maps = found.result.qp_maps
    assert found.result.bitstream == again.result.bitstream
    assert again.seconds_saved > 0.0
    assert (maps == maps[0]).all()
    assert np.ptp(maps) > 0
    assert len(TABLE_QPS) < found.encodes <= encodes


def test_search_is_worth_more_than_the_anchors_it_began_with(
    evaluator: VideoEvaluator, reference: GopReference
) -> None:
    objective = GopObjective(evaluator, reference, reference.importance, 37)
    anchors = [objective.try_uniform(qp).value for qp in TABLE_QPS[1::2]]
    found = plan(evaluator, reference, "search:30", 37)
    assert objective.try_map(found.result.qp_maps[0]).value > max(anchors)


def test_the_oracle_needs_masks(evaluator: VideoEvaluator) -> None:
    (gop,) = moving_clip(2, masks=False).gops(2)
    with pytest.raises(InvalidInputError, match=r"moving@0.*use search"):
        plan(evaluator, evaluator.reference(gop), "oracle")


def test_a_group_without_a_scored_frame_can_be_planned(evaluator: VideoEvaluator) -> None:
    clip = moving_clip(1)
    found = plan(evaluator, evaluator.reference(clip.gops(1)[0]), "table")
    assert len(found.result.frames) == 1


class OwnPlanner:
    """A planner of a user's own: an integer map two QPs coarser."""

    def plan(self, evaluator: VideoEvaluator, reference: GopReference, base_qp: int) -> GopPlan:
        return RulePlanner(lambda frame: np.full(frame.shape, base_qp + 2, np.int16)).plan(
            evaluator, reference, base_qp
        )


def test_a_planner_of_ones_own(evaluator: VideoEvaluator, reference: GopReference) -> None:
    found = plan(evaluator, reference, f"{__name__}:OwnPlanner")
    assert np.unique(found.result.qp_maps).tolist() == [QP + 2]


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("cup", "Unknown agent of clips 'cup'. Did you mean 'cap'"),
        ("roi+refine:5", "does not code clips. These do: anchor, random, roi, .*cap"),
        ("cap:ten", "Write cap, cap:10 or cap:10:36"),
        ("roi:4:2", "outside 0..1"),
        ("search:3", "Least: 7"),
        ("search", "search:50"),
    ],
)
def test_specs_that_are_off(evaluator: VideoEvaluator, spec: str, message: str) -> None:
    with pytest.raises(InvalidInputError, match=message):
        make_gop_planner(spec, evaluator)


@pytest.mark.parametrize("spec", ["cap", "cap:10:36", "graded", "graded:2:4", "cascade"])
def test_agents_of_clips_alone_are_refused_for_images(env: CodingEnv, spec: str) -> None:
    with pytest.raises(InvalidInputError, match=r"codes clips, and these are images.*roi:N"):
        make_agent(spec, env.evaluator)
    assert not draws(spec)


def test_every_agent_is_described() -> None:
    assert set(GOP_AGENTS) <= {spec.partition(":")[0] for spec in GOP_DESCRIPTIONS}
