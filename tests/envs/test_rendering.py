from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest

from dmic_gym.envs.coding_env import CodingEnv
from dmic_gym.envs.rendering import agreement, qp_overlay
from dmic_gym.tasks.data.sample import Sample
from tests.support import phantoms, play, small_env, texture

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
    width = (picture.shape[1] - 12) // 4
    return [picture[22:, k * (width + 4) : k * (width + 4) + width] for k in range(4)]


def test_four_panels_that_follow_the_episode() -> None:
    env = small_env(render_mode="rgb_array")
    env.reset(seed=0, options={"sample": 0, "base_qp": 22})
    begin = panels(rendered(env))
    env.step(12)
    midway = panels(rendered(env))
    for _ in range(8):
        env.step(3)
    end = panels(rendered(env))
    image = phantoms(1)[0].image.repeat(2, 0).repeat(2, 1)
    for reference in (begin[0], midway[0], end[0]):
        np.testing.assert_array_equal(reference, np.stack([image] * 3, axis=-1))
    changed = (begin[1] != midway[1]).any(axis=-1)
    assert changed[:128, :128].mean() > 0.9
    assert not changed[128:].any()
    assert not changed[:, 128:].any()
    for black in (*begin[2:], *midway[2:]):
        assert not black.any()
    assert env.result is not None
    reconstruction = env.result.encoded.reconstruction.repeat(2, 0).repeat(2, 1)
    np.testing.assert_array_equal(end[2], np.stack([reconstruction] * 3, axis=-1))
    assert end[3].any()
    env.reset(seed=1)
    assert not panels(rendered(env))[2].any()


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
    assert picture.nbytes < 16 << 20
    assert picture.shape[0] >= shape[0]


def test_nothing_to_render_before_reset() -> None:
    import gymnasium as gym

    with pytest.raises(gym.error.ResetNeeded):
        small_env(render_mode="rgb_array").render()
