from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from math import exp, log
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dmic_gym.agents.registry import make_agent
from dmic_gym.codecs import X265Codec, uniform_map
from dmic_gym.envs.coding_env import CodingEnv
from dmic_gym.envs.evaluator import CURVE_QPS, Anchors, Evaluator, Figures, Reference
from dmic_gym.envs.rewards import (
    REWARDS,
    AnchorCurve,
    LinearReward,
    PricedReward,
    RateSavingReward,
    Reward,
    bit_price,
    make_reward,
)
from dmic_gym.errors import InvalidInputError
from dmic_gym.tasks.data.sample import Sample
from tests.support import phantoms, play, random_map, small_env, vesselness


def figures(bits: int, dice: float | None, consistency: float = 0.5) -> Figures:
    return Figures(bits, bits - 600, dice, consistency, 30.0)


@dataclass(frozen=True)
class KnownAnchors:
    """Stands for `Anchors` with figures that are given."""

    base: Figures
    curve: list[Figures]

    def curve_up_to(self, _: float) -> list[Figures]:
        return self.curve


@dataclass(frozen=True)
class KnownPrice:
    """`Anchors` of a known image at a known base QP."""

    base: Figures
    image: Sample
    base_qp: int

    @property
    def reference(self) -> Reference:
        return Reference(self.image, b"", np.zeros(self.image.image.shape, np.float32))


RISING = [figures(1000 * 2**k, 0.5 + 0.05 * k) for k in range(7)]
ANCHORS: Any = KnownAnchors(RISING[3], RISING)


def saving(bits: int, dice: float, anchors: Any = ANCHORS, **kwargs: float) -> float:
    return RateSavingReward(**kwargs)(figures(bits, dice), anchors)["rate_saving"]


def test_linear_by_hand() -> None:
    terms = LinearReward()(figures(4000, 0.70), ANCHORS)  # the anchor: 8000 bits, Dice 0.65
    assert terms == pytest.approx({"dice": 30 * 0.05, "rate": 0.5})
    weighted = LinearReward(dice_weight=2.0, rate_weight=3.0)(figures(16000, 0.55), ANCHORS)
    assert weighted == pytest.approx({"dice": 2 * -0.1, "rate": -3.0})


def test_rate_saving_is_zero_on_the_curve_and_log_2_for_half_the_bits() -> None:
    for point in RISING:
        assert point.dice is not None
        assert saving(point.bits, point.dice) == pytest.approx(0.0, abs=1e-12)
        assert saving(point.bits // 2, point.dice) == pytest.approx(log(2))
        assert saving(2 * point.bits, point.dice) == pytest.approx(-log(2))
    between = round(1000 * 2**1.5)  # half of the way in log bits is half of the way in Dice
    assert saving(between, 0.575) == pytest.approx(0.0, abs=1e-3)


@pytest.mark.parametrize("base_qp", [20, 32, 37, 44])
def test_the_anchor_itself_is_never_paid(env: CodingEnv, base_qp: int) -> None:
    """Its point is on the curve, although it is none of the curve's own QPs."""
    assert base_qp not in CURVE_QPS
    for sample in range(3):
        reward, info = play(env, lambda _: 3, options={"sample": sample, "base_qp": base_qp})
        assert info["bits"] == info["anchor_bits"]
        assert reward <= 0


@dataclass(frozen=True)
class WholeCurve:
    """`Anchors` that encodes the whole curve whatever is asked."""

    anchors: Anchors

    def curve_up_to(self, _: float) -> list[Figures]:
        return self.anchors.curve


@pytest.mark.parametrize("workers", [1, 3])
def test_rate_saving_encodes_no_more_anchors_than_it_needs(workers: int) -> None:
    reward, made = RateSavingReward(), 0
    codec = X265Codec(32, "ultrafast")
    for seed, sample in enumerate(phantoms(3, 96)):
        for base_qp in (22, 37, 44):
            whole, lazy = (Evaluator(codec, vesselness, workers=workers) for _ in range(2))
            reference = whole.reference(sample)
            spread = random_map(sample.image.shape, 32, seed, base_qp - 4, min(base_qp + 7, 51))
            for qp_map in (spread, uniform_map(sample.image.shape, 32, base_qp)):
                found = whole.score(reference, qp_map).figures
                everything: Any = WholeCurve(Anchors(whole, reference, base_qp))
                asked = Anchors(lazy, reference, base_qp)
                assert reward(found, asked) == reward(found, everything)
            made += len(lazy._anchors)
            whole.close()
            lazy.close()
    assert made < 9 * len(CURVE_QPS) * 0.75


def test_rate_saving_is_clamped_and_bounded() -> None:
    assert saving(1000, 0.1) == pytest.approx(0.0)  # below the curve: its cheapest point
    assert saving(64000, 0.99) == pytest.approx(0.0)  # above it: its dearest
    assert saving(1, 0.8) == 2.0
    assert saving(10**9, 0.5) == -2.0
    assert saving(1, 0.8, bound=0.7) == 0.7


def test_points_that_cost_more_for_no_more_are_left_out() -> None:
    curve = AnchorCurve.through([(4000, 0.6), (1000, 0.5), (2000, 0.45), (8000, 0.55), (9000, 0.7)])
    np.testing.assert_allclose(np.exp(curve.log_bits), [1000, 4000, 9000])
    np.testing.assert_allclose(curve.quality, [0.5, 0.6, 0.7])
    assert AnchorCurve.through([(1000, 0.5)] * 3).bits_for(0.9) == pytest.approx(1000)


points = st.lists(st.tuples(st.integers(500, 10**6), st.floats(0, 1)), min_size=1, max_size=14)


@given(points, st.floats(0, 1), st.floats(0, 1))
def test_more_quality_never_needs_fewer_bits(
    table: list[tuple[int, float]], one: float, other: float
) -> None:
    curve = AnchorCurve.through(table)
    assert (np.diff(curve.log_bits) > 0).all()
    assert (np.diff(curve.quality) > 0).all()
    low, high = sorted([one, other])
    assert curve.bits_for(low) <= curve.bits_for(high) * (1 + 1e-12)
    bits = [b for b, _ in table]
    assert min(bits) * (1 - 1e-9) <= curve.bits_for(one) <= max(bits) * (1 + 1e-9)


@given(points, st.integers(500, 10**6), st.floats(0, 1))
def test_no_anchor_point_is_rewarded_and_the_bound_holds(
    table: list[tuple[int, float]], bits: int, dice: float
) -> None:
    anchors = KnownAnchors(figures(*table[0]), [figures(*point) for point in table])
    assert -2.0 <= saving(bits, dice, anchors) <= 2.0
    best = max(table, key=lambda point: (point[1], -point[0]))
    assert saving(*best, anchors) == pytest.approx(0.0, abs=1e-9)
    cheapest = min(table, key=lambda point: (point[0], -point[1]))
    assert saving(*cheapest, anchors) == pytest.approx(0.0, abs=1e-9)


def test_without_expert_mask_consistency_counts() -> None:
    base = figures(8000, None, 0.8)
    anchors: Any = KnownAnchors(base, [figures(1000, None, 0.6), base])
    gain = LinearReward(dice_weight=10.0)(figures(8000, None, 0.9), anchors)["dice"]
    assert gain == pytest.approx(1.0)
    half = exp((log(1000) + log(8000)) / 2)
    assert RateSavingReward()(figures(round(half), None, 0.7), anchors)[
        "rate_saving"
    ] == pytest.approx(0.0, abs=1e-3)


@pytest.mark.parametrize("masked", [True, False])
def test_the_environments_reward_is_that_of_real_encodes(masked: bool) -> None:
    """The curve is made again with the codec alone; constant +3 lies on it by definition."""
    sample = phantoms(2, 150)[1]
    sample = sample if masked else Sample(sample.image, None, "unmasked")
    env = small_env(dataset=[sample])
    codec = X265Codec(64, "ultrafast")
    reference = env.evaluator.reference(sample)
    made = [
        env.evaluator.score(reference, uniform_map(sample.image.shape, 64, qp)).figures
        for qp in CURVE_QPS
    ]
    for qp, anchor in zip(CURVE_QPS, made, strict=True):
        uniform = uniform_map(sample.image.shape, 64, qp)
        assert anchor.bits == codec.encode([sample.image], [uniform])[0].bits
    curve = AnchorCurve.through([(a.bits, a.quality) for a in made])
    reward, info = play(env, lambda _: 4, options={"base_qp": 30})
    quality = info["dice"] if masked else info["consistency_dice"]
    expected = log(curve.bits_for(quality)) - log(info["bits"])
    assert reward == pytest.approx(np.clip(expected, -2, 2))
    on_curve = made[CURVE_QPS.index(33)]
    assert (info["bits"], quality) == (on_curve.bits, on_curve.quality)


def constant(action: int) -> Callable[[Any], int]:
    return lambda _: action


def test_null_agents_are_the_anchor() -> None:
    for reward in ("linear", "rate_saving"):
        env = small_env(reward=reward)
        codec = X265Codec(64, "ultrafast")
        for index, sample in enumerate(phantoms(3)):
            for action, offset in ((3, 0), (4, 3)):
                options = {"sample": index, "base_qp": 27}
                value, info = play(env, constant(action), options=options)
                anchor = codec.encode(
                    [sample.image], [uniform_map(sample.image.shape, 64, 27 + offset)]
                )[0]
                assert env.result is not None
                assert env.result.encoded.bitstream == anchor.bitstream
                if offset == 0:
                    assert info["bits"] == info["anchor_bits"]
                    assert info["dice"] == info["anchor_dice"]
                    if reward == "linear":
                        assert value == 0.0
                else:
                    assert info["bits"] < info["anchor_bits"]


def count_encodes(env: Any, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """A list to which the first QP of each encode from now on is added."""
    asked: list[int] = []
    encode = env.evaluator.codec.encode

    def counted(frames: Any, qp_maps: Any) -> Any:
        asked.extend(int(qps.flat[0]) for qps in qp_maps)
        return encode(frames, qp_maps)

    monkeypatch.setattr(env.evaluator.codec, "encode", counted)
    return asked


@pytest.mark.parametrize(("reward", "encodes"), [("linear", 2), ("priced", 2), ("rate_saving", 15)])
def test_a_curve_is_encoded_for_the_reward_that_needs_it(
    reward: str, encodes: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    env = small_env(reward=reward)
    asked = count_encodes(env, monkeypatch)
    env.reset(options={"sample": 0, "base_qp": 22})
    for _ in range(8):
        env.step(5)
    assert asked == []  # steps cost nothing
    env.step(5)
    assert len(asked) == encodes


def test_a_plan_of_an_image_pays_no_reward(monkeypatch: pytest.MonkeyPatch) -> None:
    env = small_env()  # of the reward that needs the curve
    asked = count_encodes(env, monkeypatch)
    reference = env.evaluator.reference(env.dataset[0])
    plan = make_agent("roi", env.evaluator).plan(env.evaluator, reference, 30)
    assert (len(asked), plan.encodes) == (1, 1)


def test_anchors_are_encoded_once(monkeypatch: pytest.MonkeyPatch) -> None:
    env = small_env()
    asked = count_encodes(env, monkeypatch)
    options = {"sample": 0, "base_qp": 22}
    play(env, lambda _: 3, options=options)
    assert len(asked) == 1 + len({22, *CURVE_QPS})
    play(env, lambda _: 5, options=options)
    assert asked[15:] == [28]


class MyReward:
    """A reward of one's own."""

    def __call__(self, figures: Figures, anchors: Anchors) -> Mapping[str, float]:
        return {"cheap": -figures.bits / 1000, "good": figures.quality, "base": anchors.base.bits}


def test_a_reward_of_ones_own() -> None:
    reward: Reward = MyReward()
    value, info = play(small_env(reward=reward), lambda _: 3, seed=0)
    assert set(info["reward_terms"]) == {"cheap", "good", "base"}
    expected = -info["bits"] / 1000 + info["dice"] + info["anchor_bits"]
    assert value == pytest.approx(expected)


def test_a_priced_reward_pays_for_dice_what_the_search_pays() -> None:
    sample = Sample(np.zeros((100, 200), np.uint8), np.zeros((100, 200), np.bool_), "x")
    anchors: Any = KnownPrice(RISING[3], sample, 32)
    same, half = figures(8000, 0.65), figures(4000, 0.65)
    assert PricedReward()(same, anchors) == pytest.approx({"dice": 0.0, "rate": 0.0})
    assert PricedReward()(half, anchors) == pytest.approx({"dice": 0.0, "rate": 0.5})
    worth = bit_price(32) * 8000 / 20_000  # the Dice that all of the anchor's bits buy
    better = PricedReward()(figures(8000, 0.65 + worth / 2), anchors)
    assert better == pytest.approx({"dice": 0.5, "rate": 0.0})
    ruined = PricedReward()(figures(1000, 0.65 - 10 * worth), anchors)
    assert sum(ruined.values()) == pytest.approx(-3.0)


def test_rewards_by_name() -> None:
    assert {name: type(make_reward(name)) for name in REWARDS} == {
        "linear": LinearReward,
        "priced": PricedReward,
        "rate_saving": RateSavingReward,
    }
    with pytest.raises(InvalidInputError, match="Did you mean 'rate_saving'"):
        make_reward("rate-saving")
