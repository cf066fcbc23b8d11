"""Each CTU is paid for what it did, and all are paid the reward."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dmic_gym.codecs import X265Codec, uniform_map
from dmic_gym.codecs.base import Encoded
from dmic_gym.envs.bit_model import BitModel
from dmic_gym.envs.credit import Prices, dice_gains, share_out
from dmic_gym.envs.evaluator import Anchors, Evaluator, Figures
from dmic_gym.envs.map_env import CodingMapEnv
from dmic_gym.envs.rewards import REWARDS, Reward, make_reward
from dmic_gym.envs.vector_env import CodingVectorEnv
from dmic_gym.errors import EncodeError
from dmic_gym.tasks.data.sample import Sample
from dmic_gym.tasks.metrics import dice
from tests.support import phantoms, play, random_map, small_env, texture, vesselness


def sharpness(figures: Figures, anchors: Anchors) -> dict[str, float]:
    """A reward of a user's own, of Dice, bits and PSNR, and not 0 at the anchor."""
    gain = figures.quality**2 - 0.1 * figures.bits / anchors.base.bits
    return {"gain": gain, "psnr": figures.psnr / 40.0}


@pytest.mark.parametrize("reward", [*REWARDS, sharpness])
@pytest.mark.parametrize("annotated", [True, False])
def test_the_parts_sum_to_the_reward(reward: str | Reward, annotated: bool) -> None:
    samples = [s if annotated else Sample(s.image, None, s.name) for s in phantoms(2)]
    env = small_env(dataset=samples, reward=reward)
    env.action_space.seed(1)
    for episode in range(3):
        earned, info = play(env, lambda _: int(env.action_space.sample()), seed=episode)
        assert info["ctu_rewards"].dtype == np.float32
        assert info["ctu_rewards"].shape == info["qp_map"].shape
        assert info["ctu_rewards"].sum(dtype=np.float64) == pytest.approx(earned, abs=1e-5)
        assert np.ptp(info["ctu_rewards"]) > 0.0
    env.close()


def test_no_ctu_earns_anything_for_the_anchor_itself() -> None:
    env = small_env(reward="priced")
    zero = env.qp_offsets.index(0)
    _, info = play(env, lambda _: zero, seed=0)
    assert np.abs(info["ctu_rewards"]).max() < 1e-6
    env.close()


@given(st.integers(0, 2**32 - 1), st.tuples(st.integers(1, 40), st.integers(1, 40)))
def test_gains_of_dice_sum_to_the_difference(seed: int, shape: tuple[int, int]) -> None:
    rng = np.random.default_rng(seed)
    mask, anchor, truth = rng.random((3, *shape)) < rng.random((3, 1, 1))
    gains = dice_gains(mask, anchor, truth, 16)
    assert gains.shape == (-(-shape[0] // 16), -(-shape[1] // 16))
    difference = dice(mask, truth) - dice(anchor, truth)
    expected = difference if mask.any() or truth.any() else 0.0
    assert gains.sum() == pytest.approx(expected, abs=1e-12)


def test_dice_is_gained_where_the_mask_became_right() -> None:
    truth = np.zeros((64, 64), np.bool_)
    truth[10:20, 10:20] = truth[40:50, 40:50] = True
    anchor, mask = truth.copy(), truth.copy()
    anchor[10:20, 10:20] = False  # missed by the anchor, found by the agent
    mask[40:50, 40:50] = False  # the other way round
    gains = dice_gains(mask, anchor, truth, 32)
    assert gains[0, 0] > 0.0 > gains[1, 1]
    assert gains[0, 1] == gains[1, 0] == 0.0


def test_frames_of_a_group_share_one_reward() -> None:
    rng = np.random.default_rng(0)
    dice_parts, bits = rng.normal(size=(2, 5, 3, 4))
    shared = share_out(1.7, Prices(30.0, 0.002), dice_parts, bits)
    assert shared.shape == (5, 3, 4)
    assert shared.sum(dtype=np.float64) == pytest.approx(1.7, abs=1e-5)


def test_a_linear_reward_has_its_own_weights_as_prices() -> None:
    evaluator = Evaluator(X265Codec(64, "ultrafast"), vesselness)
    reference = evaluator.reference(phantoms(1)[0])
    anchors = Anchors(evaluator, reference, 32)
    found = evaluator.score(reference, random_map((130, 130), 64, 3, 20, 45))
    prices = Prices.of(make_reward("linear"), found.figures, anchors)
    assert prices.dice == pytest.approx(30.0)
    assert prices.bits == pytest.approx(1.0 / anchors.base.bits)


@given(st.integers(0, 2**32 - 1))
def test_modelled_bits_sum_to_the_stream_and_fall_with_the_qp(seed: int) -> None:
    model, rng = BitModel(texture((130, 100)), 32), np.random.default_rng(seed)
    qp_map = rng.integers(0, 52, (5, 4))
    bits = model.bits(qp_map, 9000.0)
    assert bits.sum() == pytest.approx(9000.0)
    coarser = qp_map.copy()
    coarser[2, 1] = min(qp_map[2, 1] + 6, 51)
    assert model.bits(coarser, 9000.0)[2, 1] <= bits[2, 1]


def test_the_model_knows_what_a_finer_ctu_costs() -> None:
    image, codec = phantoms(1, 256)[0].image, X265Codec(64, "ultrafast")
    model, base = BitModel(image, 64), uniform_map(image.shape, 64, 36)
    real, modelled = [], []
    before = codec.encode([image], [base])[0].slice_bits
    for place in np.ndindex(base.shape):
        finer = base.copy()
        finer[place] -= 9
        after = codec.encode([image], [finer])[0].slice_bits
        real.append(after - before)
        modelled.append(model.bits(finer, after)[place] - model.bits(base, before)[place])
    assert np.corrcoef(real, modelled)[0, 1] > 0.8


def test_all_forms_of_the_environment_pay_the_same() -> None:
    arguments: dict[str, Any] = {
        "dataset": phantoms(2),
        "segmenter": vesselness,
        "preset": "ultrafast",
        "reward": "priced",
    }
    chosen = {"sample": 1, "base_qp": 32}
    actions = np.random.default_rng(0).integers(0, 13, 9)
    env, on_maps = small_env(**arguments), CodingMapEnv(**arguments)
    order = iter(actions.tolist())
    _, info = play(env, lambda _: next(order), options=chosen)
    on_maps.reset(options=chosen)
    *_, map_info = on_maps.step(actions)
    many = CodingVectorEnv(2, workers=1, **arguments)
    many.reset(options=chosen)
    for action in actions:
        *_, infos = many.step([action, action])
    for found in (map_info["ctu_rewards"], *infos["final_info"]["ctu_rewards"]):
        assert np.array_equal(found, info["ctu_rewards"])
    for made in (env, on_maps, many):
        made.close()


def test_it_costs_no_encode_that_was_not_made_before() -> None:
    codec = Counting()
    env = small_env(codec=codec, reward="priced")
    for count in (2, 3):  # the anchor at the base QP and the agent's, then the agent's alone
        play(env, lambda _: 0, options={"sample": 0, "base_qp": 32})
        assert codec.encodes == count
    env.close()


def test_a_failed_episode_has_no_parts() -> None:
    env = small_env(codec=Counting(fails=True))
    with pytest.warns(RuntimeWarning, match="without an encode"):
        _, info = play(env, lambda _: 0, seed=0)
    assert np.isnan(info["ctu_rewards"]).all()
    assert info["ctu_rewards"].shape == info["qp_map"].shape
    env.close()


def test_images_of_several_sizes_in_one_vector_environment() -> None:
    samples = [Sample(texture((70, 70))), Sample(texture((70, 140)))]
    env: Any = gym.make_vec(
        "CodingEnv-v0", num_envs=2, dataset=samples, segmenter=vesselness, preset="ultrafast"
    )
    env.reset(options={"sample": [0, 1]})
    for _ in range(4):
        *_, infos = env.step([0, 0])
    assert infos["_final_info"].tolist() == [True, False]
    assert infos["final_info"]["ctu_rewards"][0].shape == (2, 2)
    for _ in range(2):
        *_, infos = env.step([0, 0])
    assert infos["final_info"]["ctu_rewards"][1].shape == (2, 3)
    env.close()


class Counting(X265Codec):
    """The real encoder, which counts its encodes, or fails at each."""

    def __init__(self, fails: bool = False) -> None:
        super().__init__(64, "ultrafast")
        self.encodes, self.fails = 0, fails

    def encode(self, images: Any, qp_maps: Any) -> list[Encoded]:
        """Count, then encode."""
        if self.fails:
            raise EncodeError("out of order")
        self.encodes += len(images)
        return super().encode(images, qp_maps)
