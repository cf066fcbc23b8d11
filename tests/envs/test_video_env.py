"""`VideoCodingEnv-v0`: what a user relies on."""

from __future__ import annotations

import hashlib
import inspect
import warnings
from typing import Any, get_type_hints

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env
from stable_baselines3.common.env_checker import check_env as sb3_check_env

from dmic_gym import make_sb3_video_vec
from dmic_gym.codecs.base import Codec
from dmic_gym.codecs.hevc.x265 import X265Codec
from dmic_gym.envs import VIDEO_ENV_ID
from dmic_gym.envs.observations import FEATURES, Observation
from dmic_gym.envs.rewards import LinearReward, PricedReward
from dmic_gym.envs.video_env import VideoCodingEnv
from dmic_gym.envs.video_evaluator import VideoEvaluator
from dmic_gym.envs.video_observations import VIDEO_FEATURES
from dmic_gym.envs.video_settings import MODES, Mode, VideoArguments, VideoCodingSettings
from dmic_gym.envs.video_vector_env import VideoCodingVectorEnv
from dmic_gym.errors import EncodeError, InvalidInputError
from dmic_gym.tasks.data.clip import Gop
from tests.envs.video_support import moving_clip, play_video, small_evaluator, small_video_env
from tests.support import vesselness

KEEP = 3
"""The index of offset 0 in the default table."""

STEPS = {"frame": 3, "ctu": 18, "hierarchical": 21}
START: dict[str, Any] = {"options": {"clip": 0, "start": 1, "base_qp": 32}}

FRAME_KEYS = {"frame", "frame_reward", "frame_bits", "frame_dice", "frame_consistency"}
END_KEYS = FRAME_KEYS | {
    *("sample", "clip", "start", "base_qp", "bits", "slice_bits", "dice", "consistency_dice"),
    *("iou", "psnr", "anchor_bits", "anchor_dice", "qp_map", "qp_maps", "encodes", "reward_terms"),
    *("frame_rewards", "ctu_rewards"),
}


def keep(_: Any) -> int:
    return KEEP


def at_random(seed: int = 0) -> Any:
    rng = np.random.default_rng(seed)
    return lambda _: int(rng.integers(13))


def video(observation: Observation, name: str) -> float:
    return float(observation["video"][VIDEO_FEATURES.index(name)])


@pytest.mark.parametrize("mode", MODES)
def test_both_checkers_are_silent(mode: Mode) -> None:
    env = gym.make(
        f"dmic_gym:{VIDEO_ENV_ID}",
        dataset=[moving_clip(3)],
        segmenter=vesselness,
        ctu_size=32,
        preset="ultrafast",
        gop=2,
        mode=mode,
        render_mode="rgb_array",
    )
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        check_env(env.unwrapped)
        sb3_check_env(env.unwrapped)
        sb3_check_env(env)
    env.close()


@pytest.mark.parametrize("mode", MODES)
def test_an_episode_decides_frame_after_frame(mode: Mode) -> None:
    env = small_video_env(mode=mode)
    observation, info = env.reset(**START)
    assert info == {"sample": "moving@1", "clip": "moving", "start": 1, "base_qp": 32}
    each = STEPS[mode] // 3
    for step in range(1, STEPS[mode] + 1):
        assert env.observation_space.contains(observation)
        whole = mode == "frame" or (mode == "hierarchical" and (step - 1) % each == 0)
        assert (env.level, video(observation, "level")) == (not whole, not whole)
        observation, reward, terminated, truncated, info = env.step(KEEP)
        assert (terminated, truncated) == (step == STEPS[mode], False)
        coded = step % each == 0
        assert set(info) == (END_KEYS if terminated else FRAME_KEYS if coded else set())
        assert reward == pytest.approx(0.0, abs=1e-9)  # the anchor's
    assert env.observation_space.contains(observation)
    with pytest.raises(gym.error.ResetNeeded, match="over"):
        env.step(KEEP)


@pytest.mark.parametrize("mode", MODES)
def test_offset_0_everywhere_is_the_anchor_bit_for_bit(mode: Mode) -> None:
    env = small_video_env(mode=mode)
    play_video(env, keep, **START)
    evaluator = small_evaluator()
    anchor, _ = evaluator.uniform(evaluator.reference(Gop(moving_clip(5), 1, 4)), 32)
    assert env.result is not None
    assert env.result.bitstream == anchor.bitstream


def test_qps_are_base_plus_frame_plus_ctu_offsets() -> None:
    env = small_video_env(mode="hierarchical", qp_offsets=(0, 5, -40, 29))
    actions = iter([1, 0, 1, 1, 0, 2, 3, 3, *[0] * 6, *[0] * 7])
    _, info = play_video(env, lambda _: next(actions), **START)[-1]
    assert info["qp_maps"][0].ravel().tolist() == [37, 42, 42, 37, 0, 51]
    assert np.unique(info["qp_maps"][1]).tolist() == [51]
    assert np.unique(info["qp_maps"][2]).tolist() == [32]
    frames = small_video_env(mode="frame", qp_offsets=(0, 5))
    _, info = play_video(frames, lambda _: 1, **START)[-1]
    np.testing.assert_array_equal(info["qp_maps"], np.full((3, 2, 3), 37))


def test_masks_leave_one_action_for_each_qp() -> None:
    env = small_video_env(mode="hierarchical", qp_offsets=(0, 10, 20, -10))
    env.reset(options={"base_qp": 40})
    assert env.action_masks().tolist() == [True, True, True, True]
    env.step(1)  # QP 50
    assert env.action_masks().tolist() == [True, True, False, True]
    env.step(1)
    assert env.qp_maps[0].ravel().tolist() == [51, 50, 50, 50, 50, 50]


@pytest.mark.parametrize("reward", ["priced", "linear", "rate_saving"])
def test_shares_of_frames_sum_to_the_reward_of_the_group(reward: str) -> None:
    env = small_video_env(mode="frame", reward=reward)
    ends = play_video(env, at_random(), **START)
    rewards, info = [reward for reward, _ in ends], ends[-1][1]
    assert sum(rewards) == pytest.approx(sum(info["reward_terms"].values()))
    np.testing.assert_allclose(info["frame_rewards"], rewards)
    assert any(rewards[:2]) is (reward != "rate_saving")
    assert [end["frame"] for _, end in ends] == [0, 1, 2]
    assert [end["frame_reward"] for _, end in ends] == rewards


def test_ctu_rewards_sum_to_the_rewards_of_the_frames() -> None:
    env = small_video_env(mode="ctu", reward="linear")
    info = play_video(env, at_random(3), **START)[-1][1]
    parts = info["ctu_rewards"]
    assert (parts.dtype, parts.shape) == (np.float32, (3, 2, 3))
    np.testing.assert_allclose(parts.sum(axis=(1, 2)), info["frame_rewards"], atol=1e-4)
    info = play_video(env, keep, **START)[-1][1]
    np.testing.assert_allclose(info["ctu_rewards"], 0.0, atol=1e-6)


def test_a_ctu_is_paid_for_its_own_bits() -> None:
    env = small_video_env(mode="ctu", reward=LinearReward(dice_weight=0.0))
    actions = iter([*[KEEP] * 6, *[KEEP] * 4, 12, KEEP, *[KEEP] * 6])
    info = play_video(env, lambda _: next(actions), **START)[-1][1]
    assert info["ctu_rewards"][1].argmax() == 4


def test_a_clipped_reward_still_is_the_sum_of_its_shares() -> None:
    env = small_video_env(mode="frame", reward=PricedReward(bound=0.05))
    ends = play_video(env, lambda _: 0, **START)
    assert sum(reward for reward, _ in ends) == pytest.approx(-0.05)


def test_a_share_is_the_gain_over_the_anchors_same_frame() -> None:
    env = small_video_env(mode="frame", reward="linear")
    actions = iter([6, KEEP, KEEP])
    reward, info = play_video(env, lambda _: next(actions), **START)[0]
    evaluator: VideoEvaluator = env.evaluator
    anchor = evaluator.gop_anchor(env.reference, 32)
    base = anchor.frames[0]
    assert base.dice is not None
    dice = 30.0 * (info["frame_dice"] - base.dice) / 3
    assert reward == pytest.approx(dice + (base.bits - info["frame_bits"]) / anchor.figures.bits)


def test_the_frame_whose_mask_was_given_is_paid_for_bits_alone() -> None:
    env = small_video_env(mode="frame", reward="linear")
    reward, info = play_video(env, lambda _: 6, options={"start": 0, "base_qp": 32})[0]
    anchor = env.evaluator.gop_anchor(env.reference, 32)
    saved = anchor.frames[0].bits - info["frame_bits"]
    assert reward == pytest.approx(saved / anchor.figures.bits)


def test_the_end_tells_the_truth() -> None:
    env = small_video_env(mode="ctu")
    ends = play_video(env, at_random(), **START)
    info = ends[-1][1]
    evaluator = small_evaluator()
    reference = evaluator.reference(Gop(moving_clip(5), 1, 4))
    again = evaluator.score(reference, 32, info["qp_maps"])
    assert env.result is not None
    assert env.result.bitstream == again.bitstream
    figures = again.figures
    assert (info["bits"], info["slice_bits"]) == (figures.bits, figures.slice_bits)
    for name in ("dice", "consistency_dice", "iou", "psnr"):
        assert info[name] == getattr(figures, name)
    base = evaluator.anchor(reference, 32)
    assert (info["anchor_bits"], info["anchor_dice"]) == (base.bits, base.dice)
    assert sum(end["frame_bits"] for _, end in ends) == info["bits"]
    assert np.mean([end["frame_dice"] for _, end in ends]) == pytest.approx(info["dice"])


def test_the_first_frame_knows_of_none_before() -> None:
    env = small_video_env(mode="hierarchical")
    observation, _ = env.reset(**START)
    for _ in range(3):
        assert not observation["previous"].any()
        assert not observation["previous_ctu"].any()
        for name in ("position", "frame_offset", "bits_so_far", "consistency", "qp_before"):
            assert video(observation, name) == 0.0
        assert video(observation, "first") == 1.0
        observation = env.step(KEEP)[0]


def test_what_is_shown_of_the_frame_before() -> None:
    env = small_video_env(mode="hierarchical")
    observation, _ = env.reset(**START)
    np.testing.assert_array_equal(observation["ctu"], observation["frame"])
    assert (observation["progress"][0] == 255).all()
    for action in [KEEP, 4, 5, *[KEEP] * 4]:
        observation, _, _, _, info = env.step(action)
    previous = env.episode.session.previous
    assert previous is not None
    frame = env.reference.gop.frames[1].astype(int)
    mean = np.abs(frame - previous).mean()
    assert observation["previous"][0].mean() == pytest.approx(previous.mean(), abs=1.0)
    assert observation["previous"][1].mean() == pytest.approx(mean, abs=1.0)
    assert video(observation, "position") == pytest.approx(1 / 3)
    assert video(observation, "consistency") == pytest.approx(info["frame_consistency"])
    rate = info["frame_bits"] / previous.size
    assert video(observation, "bits_so_far") == pytest.approx(np.log2(1 + 255 * rate) / 8)
    assert video(observation, "qp_before") == pytest.approx((32 + 9 / 6) / 51)
    observation = env.step(4)[0]
    assert video(observation, "frame_offset") == pytest.approx(3 / 51)
    for action, qp in ((5, 35), (KEEP, 38), (KEEP, 32)):  # the QPs that the CTUs had
        assert video(observation, "qp_before") == pytest.approx(qp / 51)
        window = observation["previous_ctu"][1, 16:48, 16:48]
        observation = env.step(action)[0]
    np.testing.assert_array_equal(window, np.abs(frame - previous)[:32, 64:])
    assert observation["features"][FEATURES.index("offset_mean")] > 0


def test_importance_is_the_previous_reconstructions_by_default() -> None:
    seen = {}
    for importance in ("previous", "original"):
        env = small_video_env(mode="frame", importance=importance)
        env.reset(**START)
        seen[importance] = env.step(11)[0]["frame"][1]
        known = env.episode.session.importance
        expected = (
            vesselness(env.episode.session.previous[None])[0]  # type: ignore[index]
            if importance == "previous"
            else env.reference.importance[1]
        )
        np.testing.assert_array_equal(known, expected)
    assert (seen["previous"] != seen["original"]).any()


def trajectory(seed: int) -> str:
    env = small_video_env(dataset=[moving_clip(6), moving_clip(5, seed=1, name="other")])
    env.action_space.seed(seed)
    digest = hashlib.sha256()
    for episode in range(2):
        env.reset(seed=seed if episode == 0 else None)
        over = False
        while not over:
            observation, reward, over, _, info = env.step(env.action_space.sample())
            for key in sorted(observation):
                digest.update(observation[key].tobytes())
            digest.update(repr((reward, sorted((k, str(v)) for k, v in info.items()))).encode())
        assert env.result is not None
        digest.update(env.result.bitstream)
    env.close()
    return digest.hexdigest()


def test_seeds_reproduce_all_that_is_shown() -> None:
    assert trajectory(1) == trajectory(1)
    assert trajectory(1) != trajectory(2)


def test_clips_starts_and_base_qps_are_drawn() -> None:
    clips = [moving_clip(6), moving_clip(2, seed=1, name="short")]
    env = small_video_env(dataset=clips, mode="frame")
    infos = [env.reset(seed=n)[1] for n in range(40)]
    assert {info["start"] for info in infos if info["clip"] == "moving"} == {0, 1, 2, 3}
    assert {info["start"] for info in infos if info["clip"] == "short"} == {0}
    assert {info["base_qp"] for info in infos} == {22, 27, 32, 37}
    env.reset(options={"clip": "moving", "start": 4})
    assert len(env.reference.gop) == 2  # what is left of the clip


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"sample": 0}, "unknown keys.*Valid: clip, start, base_qp"),
        ({"clip": 3}, r"has 1 clips: 0\.\.0"),
        ({"clip": "movin"}, "Nearest: 'moving'"),
        ({"start": 5}, r"0\.\.4"),
        ({"base_qp": 52}, r"outside 0\.\.51"),
    ],
)
def test_options_that_do_not_fit_say_what_does(options: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidInputError, match=message):
        small_video_env().reset(options=options)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"mode": "frames"}, "Did you mean 'frame'"),
        ({"gop": 0}, "gop must be 1 or more"),
        ({"importance": "none"}, "original, previous"),
        ({"codec": "ffmpeg"}, "codes stills only"),
        ({"dataset": moving_clip()}, r"\[clip\]"),
        ({"task": "arcade", "dataset": None}, "CodingEnv-v0"),
    ],
)
def test_arguments_that_do_not_fit_say_what_does(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidInputError, match=message):
        small_video_env(**settings)


class Failing(X265Codec):
    """A codec whose streams fail at the frame of that number, counted from 1 over all."""

    def __init__(self, number: int) -> None:
        super().__init__(32, "ultrafast")
        self.left = number

    def video(self, shape: tuple[int, int], base_qp: int) -> Any:
        stream, encode = super().video(shape, base_qp), None

        def failing(frame: Any, qp_map: Any) -> Any:
            self.left -= 1
            if self.left == 0:
                raise EncodeError("out of order")
            return encode(frame, qp_map)  # type: ignore[misc]

        encode = stream.encode
        stream.encode = failing  # type: ignore[method-assign]
        return stream


@pytest.mark.parametrize("number", [2, 5])  # in the anchor, in the episode's second frame
def test_a_failure_truncates_the_episode(number: int) -> None:
    env = small_video_env(codec=Failing(number), mode="frame")
    with pytest.warns(RuntimeWarning, match="out of order"):
        ends = play_video(env, lambda _: 6, **START)
    reward, info = ends[-1]
    assert reward == 0.0
    assert info["error"] == "EncodeError: out of order"
    assert np.isnan([info[key] for key in ("bits", "dice", "anchor_bits", "iou")]).all()
    assert info["qp_maps"].shape == (3, 2, 3)
    assert env.result is None
    with pytest.raises(gym.error.ResetNeeded):
        env.step(KEEP)
    assert "error" not in play_video(env, keep, **START)[-1][1]


def test_a_new_episode_and_close_end_the_stream() -> None:
    env = small_video_env(mode="frame")
    env.reset(**START)
    first = env.episode.session
    env.step(KEEP)
    env.reset(**START)
    with pytest.raises(InvalidInputError, match="closed"):
        _ = first.frame
    second = env.episode.session
    env.close()
    env.close()
    with pytest.raises(InvalidInputError, match="closed"):
        _ = second.frame
    with pytest.raises(gym.error.ClosedEnvironmentError):
        env.reset()


def test_pictures_have_one_size_whatever_is_coded() -> None:
    env = small_video_env(mode="frame", render_mode="rgb_array")
    env.reset(**START)
    blank = env.render()
    pictures = [blank]
    for _ in range(3):
        env.step(9)
        pictures.append(env.render())
    assert all(picture is not None and picture.shape == (406, 1548, 3) for picture in pictures)
    assert len({picture.tobytes() for picture in pictures if picture is not None}) == 4


def test_the_default_reward_and_table() -> None:
    env = small_video_env()
    assert isinstance(env.reward, PricedReward)
    assert env.mode == "hierarchical"
    made = gym.make(VIDEO_ENV_ID, dataset=[moving_clip(2)], segmenter=vesselness)
    assert isinstance(made.unwrapped, VideoCodingEnv)


@pytest.mark.parametrize("make", [VideoCodingEnv, VideoCodingVectorEnv, make_sb3_video_vec])
def test_a_signature_shows_every_argument_with_its_default(make: Any) -> None:
    settings, shown = (
        {name: p.default for name, p in inspect.signature(one).parameters.items()}
        for one in (VideoCodingSettings, make)
    )
    assert settings.items() <= shown.items()
    assert set(get_type_hints(VideoArguments, localns={"Codec": Codec})) == set(settings) - {
        "dataset"
    }
