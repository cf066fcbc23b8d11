"""Who owns a codec, what a closed environment says, what may be changed once it is made."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import gymnasium as gym
import numpy as np
import pytest

from dmic_gym import make_sb3_vec
from dmic_gym.codecs import X265Codec
from dmic_gym.envs.coding_env import CodingEnv
from dmic_gym.envs.map_env import CodingMapEnv
from dmic_gym.envs.rewards import LinearReward
from dmic_gym.envs.sb3 import SB3CodingVecEnv
from dmic_gym.envs.vector_env import CodingVectorEnv
from dmic_gym.errors import EncodeError, InvalidInputError
from tests.support import phantoms, play, small_env, vesselness

DATA = phantoms(2, 64)
SETTINGS: dict[str, Any] = {"dataset": DATA, "segmenter": vesselness, "reward": "linear"}
MAKERS = [CodingEnv, CodingMapEnv, CodingVectorEnv, make_sb3_vec]


def start(env: Any) -> None:
    """Reset an environment of any kind."""
    if not isinstance(env, SB3CodingVecEnv):
        env.reset(seed=0)
        return
    env.seed(0)
    env.reset()


def action_of(env: Any) -> Any:
    """Some action of an environment of any kind."""
    return np.full(env.num_envs, 3) if hasattr(env, "num_envs") else env.action_space.sample()


@pytest.mark.parametrize("make", MAKERS)
def test_a_codec_that_was_passed_stays_open(make: Callable[..., Any]) -> None:
    codec = X265Codec(64, "ultrafast")
    one, other = make(codec=codec, **SETTINGS), make(codec=codec, **SETTINGS)
    start(other)
    one.close()
    outcome = other.step(action_of(other))
    assert "error" not in repr(outcome[-1])
    other.close()
    assert codec.encode([DATA[0].image], [np.full((1, 1), 30)])[0].bits > 0


@pytest.mark.parametrize("make", MAKERS)
def test_a_codec_of_its_own_is_closed(make: Callable[..., Any]) -> None:
    env = make(preset="ultrafast", **SETTINGS)
    codec = getattr(env, "env", env).evaluator.codec
    env.close()
    env.close()
    with pytest.raises(EncodeError, match="closed"):
        codec.encode([DATA[0].image], [np.full((1, 1), 30)])


@pytest.mark.parametrize("make", MAKERS)
def test_a_closed_environment_raises_when_used(make: Callable[..., Any]) -> None:
    env = make(preset="ultrafast", render_mode="rgb_array", **SETTINGS)
    start(env)
    action = action_of(env)
    env.close()
    for use in (env.reset, lambda: env.step(action), env.render):
        with pytest.raises(gym.error.ClosedEnvironmentError, match="make a new one"):
            use()


def test_the_data_set_of_a_vec_env_changes_at_the_next_reset() -> None:
    vec = make_sb3_vec(2, preset="ultrafast", seed=0, **SETTINGS)
    vec.reset()
    vec.set_attr("dataset", phantoms(1, 64, seed=9))
    _, _, dones, infos = vec.step(np.array([3, 3]))
    assert dones.all()
    assert {info["sample"] for info in infos} <= {sample.name for sample in DATA}
    assert [info["sample"] for info in vec.reset_infos] == ["phantom-9-0000"] * 2
    vec.set_attr("reward", LinearReward(dice_weight=0.0))
    *_, infos = vec.step(np.array([3, 3]))
    assert [info["reward_terms"]["dice"] for info in infos] == [0.0, 0.0]
    vec.close()


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("segmenter", vesselness, "'segmenter' cannot be set.*base_qps, dataset"),
        ("qp_offsets", (0, 1), "'qp_offsets' cannot be set"),
        ("num_envs", 3, "'num_envs' cannot be set"),
        ("render_mode", "rgb_array", "'render_mode' cannot be set"),
        ("colour", "red", "'colour' cannot be set"),
        ("base_qps", (60,), "Nearest: 51"),
        ("dataset", [], "empty"),
        ("reward", "liner", "Did you mean 'linear'"),
    ],
)
def test_what_cannot_be_set_is_refused_by_name(name: str, value: Any, words: str) -> None:
    vec = make_sb3_vec(2, preset="ultrafast", **SETTINGS)
    with pytest.raises(InvalidInputError, match=words):
        vec.set_attr(name, value)
    vec.close()


def test_attributes_of_a_single_environment() -> None:
    env = small_env(reward="linear")
    env.dataset = "phantoms"
    env.base_qps = [51]
    _, info = env.reset(seed=0)
    assert info["base_qp"] == 51
    assert env.reference.sample.image.shape == (300, 300)
    for name in ("qp_offsets", "ctu_size"):
        with pytest.raises(AttributeError, match=name):
            setattr(env, name, 0)


def test_a_spec_shares_what_the_environment_was_made_of() -> None:
    def segmenter(images: Any, /) -> Any:
        return vesselness(images)

    class Precious(list[Any]):
        def __deepcopy__(self, memo: Any) -> Any:
            raise AssertionError("copied")

    data = Precious(phantoms(2, 40))
    for env in (
        gym.make("CodingEnv-v0", dataset=data, segmenter=segmenter, preset="ultrafast"),
        gym.make("CodingMapEnv-v0", dataset=data, segmenter=segmenter, preset="ultrafast"),
    ):
        spec = env.spec
        assert spec is not None
        assert spec.kwargs["dataset"] is data
        assert copy.deepcopy(spec).kwargs["segmenter"] is segmenter
        again: Any = gym.make(spec)
        assert again.unwrapped.dataset is env.unwrapped.dataset  # type: ignore[attr-defined]
        env.close()
        again.close()


def test_masks_leave_one_offset_for_each_qp() -> None:
    env = small_env(reward="linear")
    env.reset(options={"base_qp": 37})
    allowed = np.array(env.qp_offsets)[env.action_masks()]
    assert allowed.tolist() == [-10, -6, -3, 0, 3, 6, 9, 12, 15]  # 37 + 15 is 51 already
    for base_qp in range(52):
        env.reset(options={"base_qp": base_qp})
        qps = np.clip(base_qp + np.array(env.qp_offsets), 0, 51)
        mask = env.action_masks()
        assert mask[env.qp_offsets.index(0)]
        assert sorted(qps[mask]) == sorted(set(qps))


def test_masks_of_maps_and_of_many() -> None:
    single = small_env(reward="linear")
    single.reset(options={"base_qp": 37})
    mapped = CodingMapEnv(phantoms(1, 130), segmenter=vesselness, preset="ultrafast")
    mapped.reset(options={"base_qp": 37})
    np.testing.assert_array_equal(mapped.action_masks(), np.tile(single.action_masks(), 9))
    vec = make_sb3_vec(3, preset="ultrafast", **SETTINGS)
    vec.set_options([{"base_qp": 22}, {"base_qp": 37}, {"base_qp": 51}])
    vec.reset()
    masks = vec.env_method("action_masks")
    np.testing.assert_array_equal(masks[1], single.action_masks())
    np.testing.assert_array_equal(vec.env_method("action_masks", indices=[1])[0], masks[1])
    assert masks[0].all()
    assert masks[2].sum() == 4
    vec.close()
    mapped.close()


def test_maskable_ppo_learns_and_keeps_to_the_masks() -> None:
    contrib = pytest.importorskip("sb3_contrib")
    vec = make_sb3_vec(2, preset="ultrafast", base_qps=(47,), seed=0, **SETTINGS)
    model = contrib.MaskablePPO("MultiInputPolicy", vec, n_steps=8, batch_size=8, seed=0)
    model.learn(16)
    observation = vec.reset()
    masks = np.stack(vec.env_method("action_masks"))
    for _ in range(20):
        chosen, _ = model.predict(observation, action_masks=masks)
        assert masks[np.arange(2), chosen].all()
    vec.close()


def test_maskable_ppo_takes_a_single_environment() -> None:
    contrib = pytest.importorskip("sb3_contrib")
    env = gym.make("CodingEnv-v0", preset="ultrafast", base_qps=(51,), **SETTINGS)
    model = contrib.MaskablePPO("MultiInputPolicy", env, n_steps=8, batch_size=8, seed=0)
    model.learn(8)
    lowered = np.flatnonzero(env.get_wrapper_attr("action_masks")())
    assert set(model.rollout_buffer.actions.ravel()) <= set(lowered)
    env.close()


@pytest.mark.parametrize("action", [True, np.True_, np.array(False)])
def test_a_truth_value_is_no_action(action: Any) -> None:
    env = small_env()
    env.reset(seed=0)
    with pytest.raises(InvalidInputError, match=r"integer index into qp_offsets, 0\.\.12"):
        env.step(action)


@pytest.mark.parametrize("made", [0.5, None, [0.5]])
def test_a_reward_without_names_says_what_to_return(made: Any) -> None:
    env = small_env(reward=lambda figures, anchors: made)
    with pytest.raises(InvalidInputError, match=r'return \{"gain": '):
        play(env, lambda _: 3, seed=0)
