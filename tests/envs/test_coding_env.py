from __future__ import annotations

import copy
import pickle
import warnings
from pathlib import Path
from typing import Any

import cv2
import gymnasium as gym
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env
from stable_baselines3.common.env_checker import check_env as sb3_check_env

from dmic_gym.codecs import Encoded, FFmpegCodec, X265Codec, uniform_map
from dmic_gym.envs import ENV_ID, register
from dmic_gym.envs.coding_env import CodingEnv
from dmic_gym.errors import DataError, EncodeError, InvalidInputError, SelfTestError
from dmic_gym.tasks.data.sample import Sample
from dmic_gym.tasks.metrics import binarize, dice
from tests.support import phantoms, play, small_env, texture, vesselness

END_KEYS = {
    "sample",
    "base_qp",
    "bits",
    "slice_bits",
    "dice",
    "consistency_dice",
    "psnr",
    "anchor_bits",
    "anchor_dice",
    "qp_map",
    "encodes",
    "ctu_rewards",
    "reward_terms",
}


def keep(_: Any) -> int:
    """The index of offset 0 in the default table."""
    return 3


@pytest.mark.parametrize("ctu_size", [64, 16])
@pytest.mark.parametrize("name", [ENV_ID, f"dmic_gym:{ENV_ID}"])
def test_both_checkers_are_silent(name: str, ctu_size: int) -> None:
    env = gym.make(
        name,
        dataset=phantoms(2, 40),
        segmenter=vesselness,
        ctu_size=ctu_size,
        preset="ultrafast",
        render_mode="rgb_array",
    )
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        check_env(env.unwrapped)
        sb3_check_env(env.unwrapped)
        sb3_check_env(env)
    env.close()


def test_make_passes_every_argument() -> None:
    env = gym.make(
        ENV_ID,
        dataset=phantoms(1, 70),
        segmenter=vesselness,
        codec="x265",
        ctu_size=32,
        base_qps=(30,),
        qp_offsets=(0, 5),
        reward="linear",
        preset="superfast",
    )
    made = env.unwrapped
    assert isinstance(made, CodingEnv)
    assert repr(made.evaluator.codec) == "X265Codec(ctu_size=32, preset='superfast')"
    assert (made.ctu_size, made.base_qps, made.qp_offsets) == (32, (30,), (0, 5))
    assert env.action_space == gym.spaces.Discrete(2)
    _, info = play(env, lambda _: 1, seed=0)
    assert set(info["reward_terms"]) == {"dice", "rate"}
    np.testing.assert_array_equal(info["qp_map"], np.full((3, 3), 35))
    env.close()


def test_registering_twice_is_silent() -> None:
    spec = gym.registry[ENV_ID]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        register()
        register()
    assert gym.registry[ENV_ID] is spec


def test_an_episode_steps_through_the_ctus(env: CodingEnv) -> None:
    observation, info = env.reset(seed=3)
    assert info == {"sample": env.reference.sample.name, "base_qp": env.base_qp}
    assert env.result is None
    for step in range(9):
        assert env.observation_space.contains(observation)
        undecided = env.qp_map.ravel()[step:]
        assert set(undecided) == {env.base_qp}
        observation, reward, terminated, truncated, info = env.step(step)
        assert not truncated
        assert terminated is (step == 8)
        if step < 8:
            assert (reward, info) == (0.0, {})
    assert set(info) == END_KEYS
    expected = np.clip(env.base_qp + np.array(env.qp_offsets[:9]), 0, 51).reshape(3, 3)
    np.testing.assert_array_equal(info["qp_map"], expected)
    assert env.observation_space.contains(observation)


def test_the_end_tells_the_truth(env: CodingEnv) -> None:
    """Every figure of the last info, computed again from stream, picture and masks."""
    sample = phantoms(3)[1]
    rng = np.random.default_rng(0)
    reward, info = play(env, lambda _: int(rng.integers(13)), options={"sample": 1, "base_qp": 32})
    codec = X265Codec(64, "ultrafast")
    encoded = codec.encode([sample.image], [info["qp_map"]])[0]
    anchor = codec.encode([sample.image], [uniform_map(sample.image.shape, 64, 32)])[0]
    assert env.result is not None
    assert env.result.encoded.bitstream == encoded.bitstream
    np.testing.assert_array_equal(env.result.encoded.reconstruction, encoded.reconstruction)
    assert sample.mask is not None
    before, after, base = (
        binarize(vesselness(image[None])[0])
        for image in (sample.image, encoded.reconstruction, anchor.reconstruction)
    )
    assert info["bits"] == 8 * len(encoded.bitstream)
    assert info["slice_bits"] == encoded.slice_bits
    assert info["dice"] == dice(after, sample.mask)
    assert info["consistency_dice"] == dice(after, before)
    assert info["anchor_bits"] == anchor.bits
    assert info["anchor_dice"] == dice(base, sample.mask)
    assert info["psnr"] == pytest.approx(cv2.PSNR(sample.image, encoded.reconstruction), abs=1e-3)
    assert (info["sample"], info["base_qp"], info["encodes"]) == (sample.name, 32, 1)
    assert reward == pytest.approx(sum(info["reward_terms"].values()))


def test_the_default_table_reaches_from_minus_10_to_qp_51(env: CodingEnv) -> None:
    assert 0 in env.qp_offsets
    assert min(env.qp_offsets) == -10
    assert 22 + max(env.qp_offsets) == 51
    assert list(env.qp_offsets) == sorted(set(env.qp_offsets))
    assert env.action_space == gym.spaces.Discrete(len(env.qp_offsets))


@pytest.mark.parametrize(("base_qp", "low", "high"), [(51, 41, 51), (0, 0, 29), (5, 0, 34)])
def test_the_map_is_clipped(env: CodingEnv, base_qp: int, low: int, high: int) -> None:
    actions = iter([0, 12] * 5)
    _, info = play(env, lambda _: next(actions), options={"base_qp": base_qp})
    assert (info["qp_map"].min(), info["qp_map"].max()) == (low, high)


@pytest.mark.parametrize("action", [-1, 13, 1.0, "3", None, [3], np.array([3]), np.float32(3)])
def test_no_action(env: CodingEnv, action: Any) -> None:
    env.reset(seed=0)
    with pytest.raises(InvalidInputError, match=r"integer index into qp_offsets, 0\.\.12"):
        env.step(action)
    assert env.step(3)[2:4] == (False, False)  # the episode goes on


@pytest.mark.parametrize("action", [3, np.int64(3), np.int32(3), np.array(3)])
def test_any_integer_is_an_action(env: CodingEnv, action: Any) -> None:
    env.reset(seed=0, options={"base_qp": 27})
    env.step(action)
    assert env.qp_map[0, 0] == 27


def test_no_step_before_reset_or_after_the_end(env: CodingEnv) -> None:
    for use in (lambda: env.step(3), lambda: env.qp_map, lambda: env.reference):
        with pytest.raises(gym.error.ResetNeeded, match="reset"):
            use()
    play(env, keep, seed=0)
    for _ in range(2):
        with pytest.raises(gym.error.ResetNeeded, match=r"call reset\(\) before step\(\)"):
            env.step(3)
    env.reset()
    assert env.step(3)[2] is False


def test_reset_ends_an_episode_midway(env: CodingEnv) -> None:
    env.reset(seed=0)
    env.step(12)
    observation, _ = env.reset(seed=0)
    assert not observation["progress"][1].any()
    assert set(env.qp_map.ravel()) == {env.base_qp}


@pytest.mark.parametrize("choice", [2, -1, np.int64(2), "phantom-0-0002", phantoms(3)[2]])
def test_a_sample_by_index_name_or_itself(env: CodingEnv, choice: Any) -> None:
    _, info = env.reset(options={"sample": choice, "base_qp": np.int64(40)})
    assert info == {"sample": "phantom-0-0002", "base_qp": 40}
    np.testing.assert_array_equal(env.reference.sample.image, phantoms(3)[2].image)


def test_a_sample_of_ones_own_is_coded(env: CodingEnv) -> None:
    own = Sample(texture((65, 30)), name="mine")
    _, info = play(env, keep, options={"sample": own})
    assert info["sample"] == "mine"
    assert info["qp_map"].shape == (2, 1)
    assert info["dice"] is None
    assert info["anchor_dice"] is None


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"sampel": 1}, r"unknown keys \['sampel'\]. Valid: sample, base_qp"),
        ({"sample": 3}, r"has 3 images: 0\.\.2"),
        ({"sample": -4}, "3 images"),
        ({"sample": "phantom-0-0007"}, "Nearest: 'phantom-0-000"),
        ({"sample": 1.5}, "a Sample, an index or a name"),
        ({"base_qp": 52}, "Nearest: 51"),
        ({"base_qp": -1}, "Nearest: 0"),
        ({"base_qp": 30.0}, "must be integers"),
        ({"base_qp": "30"}, "must be integers"),
    ],
)
def test_reset_options_that_are_wrong(env: CodingEnv, options: dict[str, Any], words: str) -> None:
    with pytest.raises(InvalidInputError, match=words):
        env.reset(options=options)


def test_the_options_given_are_not_changed(env: CodingEnv) -> None:
    options = {"sample": 1, "base_qp": 30}
    env.reset(options=options)
    assert options == {"sample": 1, "base_qp": 30}


@pytest.mark.parametrize(
    ("kwargs", "error", "words"),
    [
        ({"dataset": "phantom"}, InvalidInputError, "Did you mean 'phantoms'"),
        ({"dataset": []}, InvalidInputError, "empty"),
        ({"dataset": "no/such/folder"}, DataError, "No folder"),
        ({"segmenter": "unett"}, InvalidInputError, "Did you mean 'unet'"),
        ({"segmenter": 3}, InvalidInputError, "segmenter must be a name, a path"),
        ({"max_failures": 0}, InvalidInputError, "Nearest: 1"),
        ({"codec": "x256"}, InvalidInputError, "Did you mean 'x265'"),
        ({"codec": object()}, InvalidInputError, "ctu_size, qp_range, encode, decode and close"),
        ({"ctu_size": 48}, InvalidInputError, "Nearest: "),
        ({"preset": "slowest"}, InvalidInputError, "Did you mean 'slow"),
        ({"base_qps": ()}, InvalidInputError, "base_qps is empty"),
        ({"base_qps": (22, 60)}, InvalidInputError, "Nearest: 51"),
        ({"base_qps": (22.5,)}, InvalidInputError, "must be integers"),
        ({"base_qps": 22}, InvalidInputError, "must be integers"),
        ({"qp_offsets": ()}, InvalidInputError, "qp_offsets is empty"),
        ({"qp_offsets": (1, 2)}, InvalidInputError, "hold 0"),
        ({"qp_offsets": (0, 1, 1)}, InvalidInputError, "distinct"),
        ({"qp_offsets": (0, 52)}, InvalidInputError, r"-51\.\.51"),
        ({"reward": "liner"}, InvalidInputError, "Did you mean 'linear'"),
        ({"reward": 1.0}, InvalidInputError, "or a callable"),
    ],
)
def test_arguments_that_are_wrong(
    kwargs: dict[str, Any], error: type[Exception], words: str
) -> None:
    with pytest.raises(error, match=words):
        small_env(**kwargs)


def test_a_codec_object_keeps_its_own_settings() -> None:
    codec = X265Codec(32, "ultrafast")
    assert small_env(codec=codec).ctu_size == 32
    assert small_env(codec=codec, ctu_size=32).evaluator.codec is codec
    for kwargs in ({"ctu_size": 64}, {"preset": "medium"}):
        with pytest.raises(InvalidInputError, match=r"its own CTU size \(32\)"):
            small_env(codec=codec, **kwargs)


def test_the_ffmpeg_codec_gives_the_same_episode(env: CodingEnv) -> None:
    other = small_env(codec=FFmpegCodec(64, "ultrafast"), reward="linear")
    env = small_env(reward="linear")
    options = {"sample": 0, "base_qp": 37}
    (reward, info), (other_reward, other_info) = (
        play(e, keep, options=options) for e in (env, other)
    )
    assert info["dice"] == other_info["dice"]
    assert info["psnr"] == other_info["psnr"]
    assert other_reward == pytest.approx(reward, abs=0.02)


class BrokenCodec(X265Codec):
    """Fails from the n-th encode on."""

    works = 0

    def encode(self, frames: Any, qp_maps: Any) -> list[Encoded]:
        self.works -= 1
        if self.works < 0:
            raise EncodeError("the encoder caught fire")
        return super().encode(frames, qp_maps)


@pytest.mark.parametrize("works", [0, 1, 5])
def test_a_codec_that_fails_truncates(works: int) -> None:
    """In the agent's encode, in the anchor's, or in one of the anchor's curve."""
    codec = BrokenCodec(64, "ultrafast")
    codec.works = works
    env = small_env(codec=codec)
    observation, _ = env.reset(seed=0)
    for _ in range(8):
        observation, *_ = env.step(3)
    with pytest.warns(RuntimeWarning, match="caught fire"):
        observation, reward, terminated, truncated, info = env.step(3)
    assert env.observation_space.contains(observation)
    assert (reward, terminated, truncated) == (0.0, False, True)
    assert info["error"] == "EncodeError: the encoder caught fire"
    with pytest.raises(gym.error.ResetNeeded):
        env.step(3)
    codec.works = 100
    assert set(play(env, keep, seed=0)[1]) == END_KEYS


def test_a_codec_that_drops_offsets_never_rewards() -> None:
    env = small_env(codec=X265Codec(64, "ultrafast", {"aq-mode": 0}))
    with pytest.warns(RuntimeWarning, match=SelfTestError.__name__):
        reward, info = play(env, keep, seed=0)
    assert reward == 0.0
    assert info["error"].startswith(SelfTestError.__name__)


def wrong_shape(images: Any) -> Any:
    return np.zeros((1, 2, 2), np.float32)


def test_a_segmenter_that_is_wrong_raises() -> None:
    with pytest.raises(InvalidInputError, match="one probability per pixel"):
        small_env(segmenter=wrong_shape).reset(seed=0)


def test_a_folder_is_a_data_set(tmp_path: Path) -> None:
    for name in ("a", "b"):
        cv2.imwrite(str(tmp_path / f"{name}.png"), texture((66, 50)))
    cv2.imwrite(str(tmp_path / "a_gt.png"), np.eye(66, 50, dtype=np.uint8) * 255)
    env = small_env(dataset=tmp_path)
    assert play(env, keep, options={"sample": "a"})[1]["dice"] is not None
    assert play(env, keep, options={"sample": "b"})[1]["dice"] is None


@pytest.mark.parametrize("shape", [(1, 1), (1, 200), (200, 1), (65, 131)])
@pytest.mark.parametrize("ctu_size", [64, 16])
def test_odd_and_tiny_images(shape: tuple[int, int], ctu_size: int) -> None:
    env = small_env(dataset=[Sample(texture(shape))], ctu_size=ctu_size)
    rng = np.random.default_rng(0)
    reward, info = play(env, lambda _: int(rng.integers(13)), seed=0)
    assert info["qp_map"].shape == (-(-shape[0] // ctu_size), -(-shape[1] // ctu_size))
    assert np.isfinite(reward)
    assert env.result is not None
    assert env.result.encoded.reconstruction.shape == shape


def test_images_of_many_sizes_in_one_data_set() -> None:
    samples = [Sample(texture(shape), name=str(shape)) for shape in ((40, 50), (200, 70), (64, 64))]
    env = small_env(dataset=samples)
    for index, sample in enumerate(samples):
        _, info = play(env, keep, options={"sample": index})
        assert info["sample"] == sample.name


@pytest.mark.parametrize("duplicate", [copy.deepcopy, lambda e: pickle.loads(pickle.dumps(e))])
@pytest.mark.parametrize("steps", [0, 4, 9])
def test_a_copy_made_midway_goes_on_alone(duplicate: Any, steps: int) -> None:
    env = small_env()
    env.reset(seed=5)
    for action in range(steps):
        env.step(action)
    twin = duplicate(env)
    rest = [
        [
            (o["features"].tobytes(), o["progress"].tobytes(), o["ctu"].tobytes(), *others[:3])
            for o, *others in (e.step(a) for a in range(steps, 9))
        ]
        for e in (env, twin)
    ]
    assert rest[0] == rest[1]
    np.testing.assert_array_equal(env.qp_map, twin.qp_map)
    assert env.result is not None
    assert twin.result is not None
    assert env.result.encoded.bitstream == twin.result.encoded.bitstream
    assert env.reset()[1] == twin.reset()[1]  # the random state was copied as well
    twin.step(12)
    assert set(env.qp_map.ravel()) == {env.base_qp}
    env.close()
    assert play(twin, keep)[1]["bits"] > 0


def test_two_environments_do_not_meet() -> None:
    one, other = small_env(), small_env(ctu_size=16)
    one.reset(seed=1)
    other.reset(seed=2)
    for action in range(8):
        one.step(action)
        other.step(12 - action)
    alone = small_env()
    alone.reset(seed=1)
    for action in range(8):
        alone.step(action)
    np.testing.assert_array_equal(one.qp_map, alone.qp_map)
    assert one.step(0)[4]["bits"] == alone.step(0)[4]["bits"]


def test_what_is_shown_cannot_be_used_to_change_an_episode(env: CodingEnv) -> None:
    observation, _ = env.reset(seed=0)
    expected, _ = env.reset(seed=0)
    for value in observation.values():
        value[...] = 0
    env.qp_map[...] = 0
    again, _ = env.reset(seed=0)
    for key, value in expected.items():
        np.testing.assert_array_equal(again[key], value)
    _, info = play(env, keep, seed=0)
    info["qp_map"][...] = 0
    assert env.result is not None
    assert env.result.qp_map.all()


def test_render_needs_its_mode(env: CodingEnv) -> None:
    env.reset(seed=0)
    with pytest.warns(UserWarning, match="render_mode"):
        assert env.render() is None
