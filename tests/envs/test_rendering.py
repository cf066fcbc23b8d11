from __future__ import annotations

from pathlib import Path
from typing import Any

import av
import gymnasium as gym
import numpy as np
import numpy.typing as npt
import pytest
from stable_baselines3.common.vec_env import VecVideoRecorder

from dmic_gym import make_sb3_vec
from dmic_gym.envs.coding_env import CodingEnv
from dmic_gym.envs.rendering import agreement, draw, qp_overlay
from dmic_gym.tasks.data.sample import Sample
from dmic_gym.types import Image
from tests.support import phantoms, play, small_env, texture, vesselness

Picture = npt.NDArray[np.uint8]


def rendered(env: CodingEnv) -> Picture:
    picture = env.render()
    assert picture is not None
    assert picture.dtype == np.uint8
    assert picture.ndim == 3
    assert picture.shape[2] == 3
    return picture


def panels(picture: Picture) -> list[Picture]:
    """Cut a picture at its three white gaps of four columns."""
    return [picture[22:, k * 388 : k * 388 + 384] for k in range(4)]


def doubled(image: Image) -> Picture:
    """A grey 130x130 image as a panel shows it: every pixel twice, white to the right and below."""
    shown = np.pad(image.repeat(2, 0).repeat(2, 1), ((0, 124), (0, 124)), constant_values=255)
    return np.stack([shown] * 3, axis=-1)


def test_four_panels_that_follow_the_episode() -> None:
    env = small_env(render_mode="rgb_array")
    env.reset(seed=0, options={"sample": 0, "base_qp": 22})
    begin = panels(rendered(env))
    env.step(12)
    midway = panels(rendered(env))
    for _ in range(8):
        env.step(3)
    end = panels(rendered(env))
    for reference in (begin[0], midway[0], end[0]):
        np.testing.assert_array_equal(reference, doubled(phantoms(1)[0].image))
    changed = (begin[1] != midway[1]).any(axis=-1)
    assert changed[:128, :128].mean() > 0.9
    assert not changed[128:].any()
    assert not changed[:, 128:].any()
    for blank in (*begin[2:], *midway[2:]):
        assert set(np.unique(blank)) == {235, 255}  # light grey on white, never black
    assert env.result is not None
    np.testing.assert_array_equal(end[2], doubled(env.result.encoded.reconstruction))
    assert end[3].any()


def test_the_last_result_stays_until_the_next_one() -> None:
    env = small_env(render_mode="rgb_array")
    play(env, lambda _: 3, options={"sample": 0})
    first = rendered(env)
    env.reset(options={"sample": 1})
    following = rendered(env)
    for shown, kept in zip(panels(following)[2:], panels(first)[2:], strict=True):
        np.testing.assert_array_equal(shown, kept)
    assert (following[:22, 776:] != first[:22, 776:]).any()  # the caption says "previous"
    play(env, lambda _: 12, options={"sample": 1})
    assert (panels(rendered(env))[2] != panels(first)[2]).any()


@pytest.mark.parametrize("mode", ["SAME_STEP", "NEXT_STEP"])
def test_pictures_of_many_have_one_size_and_show_results(mode: str) -> None:
    data = [*phantoms(1, 130), *phantoms(1, (70, 200), seed=1)]
    env: Any = gym.make_vec(
        "CodingEnv-v0",
        num_envs=2,
        dataset=data,
        segmenter=vesselness,
        preset="ultrafast",
        reward="linear",
        render_mode="rgb_array",
        autoreset_mode=mode,
    )
    env.reset(options={"sample": [0, 1]})
    assert {picture.shape for picture in env.render()} == {(406, 1548, 3)}
    for _ in range(9):
        env.step([3, 3])
        shown = np.stack(env.render())
    assert [bool((panels(one)[3] == (80, 220, 80)).all(axis=-1).any()) for one in shown] == [1, 1]
    env.close()


def test_colours_of_agreement() -> None:
    image = np.full((2, 2), 100, np.uint8)
    mask = np.array([[True, True], [False, False]])
    truth = np.array([[True, False], [True, False]])
    picture = agreement(image, mask, truth)
    assert picture[1, 1].tolist() == [50, 50, 50]
    both, ours, theirs = picture[0, 0], picture[0, 1], picture[1, 0]
    assert both.argmax() == 1  # green
    assert ours.argmax() == 0  # red
    assert theirs.argmax() == 2  # blue


@pytest.mark.parametrize("ctu_size", [64, 32, 16])
def test_the_overlay_tints_ctus(ctu_size: int) -> None:
    image = np.full((70, 100), 128, np.uint8)
    rows, cols = -(-70 // ctu_size), -(-100 // ctu_size)
    qps = np.zeros((rows, cols), np.int16)
    qps[0, -1] = 51
    picture = qp_overlay(image, qps, ctu_size).astype(int)
    redness = picture[:, :, 0] - picture[:, :, 2]
    assert picture.shape == (70, 100, 3)
    left = (cols - 1) * ctu_size
    assert (redness[:ctu_size, left:] > redness[0, 0] + 40).all()
    assert len(np.unique(redness[:, :left])) == 1


@pytest.mark.parametrize("shape", [(1, 1), (1, 300), (300, 1), (64, 700), (2048, 3)])
def test_any_size(shape: tuple[int, int]) -> None:
    env = small_env(dataset=[Sample(texture(shape))], reward="linear", render_mode="rgb_array")
    play(env, lambda _: 3, seed=0)
    picture = rendered(env)
    assert picture.shape == (406, 1548, 3)
    assert env.result is not None
    native = draw(env.reference, env.qp_map, 64, env.result)
    assert native.nbytes < 16 << 20
    assert native.shape[0] >= 22 + shape[0]


def test_nothing_to_render_before_reset() -> None:
    with pytest.raises(gym.error.ResetNeeded):
        small_env(render_mode="rgb_array").render()


TWO_SIZES: dict[str, Any] = {
    "dataset": [*phantoms(1, 64), *phantoms(1, (70, 130), seed=1)],
    "segmenter": vesselness,
    "preset": "ultrafast",
    "reward": "linear",
    "render_mode": "rgb_array",
}


def frames_of(folder: Path) -> tuple[int, tuple[int, ...]]:
    """Number of frames of the one video in a folder, and their one shape."""
    (file,) = folder.glob("*.mp4")
    with av.open(str(file)) as video:
        shapes = [(frame.height, frame.width) for frame in video.decode(video=0)]
    (shape,) = set(shapes)
    return len(shapes), shape


@pytest.fixture
def moviepy() -> None:
    pytest.importorskip("moviepy", reason="Gymnasium's recorders need moviepy")


def test_record_video_across_episodes(moviepy: None, tmp_path: Path) -> None:
    env = gym.wrappers.RecordVideo(
        gym.make("CodingEnv-v0", **TWO_SIZES),
        str(tmp_path / "videos"),
        step_trigger=lambda step: step == 1,
        video_length=12,
    )
    env.reset(seed=0)
    for step in range(16):
        if any(env.step(3)[2:4]):
            env.reset(options={"sample": step % 2})
    env.close()  # type: ignore[no-untyped-call]
    count, shape = frames_of(tmp_path / "videos")
    assert count >= 12  # moviepy may repeat the last frame
    assert shape == (406, 1548)


def test_vector_record_video(moviepy: None, tmp_path: Path) -> None:
    vector = gym.make_vec("CodingEnv-v0", num_envs=2, autoreset_mode="NEXT_STEP", **TWO_SIZES)
    env = gym.wrappers.vector.RecordVideo(
        vector, str(tmp_path / "videos"), step_trigger=lambda step: step == 1, video_length=12
    )
    env.reset(seed=0, options={"sample": [0, 1]})
    for _ in range(16):
        env.step(np.array([3, 3]))
    env.close()
    count, shape = frames_of(tmp_path / "videos")
    assert count >= 12
    assert shape[0] >= 406


def test_stable_baselines_recorder(moviepy: None, tmp_path: Path) -> None:
    vec = VecVideoRecorder(
        make_sb3_vec(2, **TWO_SIZES),
        str(tmp_path / "videos"),
        lambda step: step == 1,
        video_length=12,
    )
    vec.reset()
    for _ in range(16):
        vec.step(np.array([3, 3]))
    vec.close()
    count, shape = frames_of(tmp_path / "videos")
    assert count >= 12
    assert min(shape) >= 406
