"""What an agent sees, against a second computation from image, importance and history."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dmic_gym.envs.coding_env import CodingEnv
from dmic_gym.envs.complexity import complexity
from dmic_gym.envs.observations import FEATURES
from dmic_gym.tasks.data.sample import Sample
from tests.support import phantoms, small_env, texture

SHAPES = [(131, 97), (1, 1), (1, 150), (70, 3), (64, 128), (300, 301)]


def at(plane: npt.NDArray[Any], y: int, x: int) -> Any:
    """The pixel at (y, x), that of the nearest edge outside."""
    return plane[min(max(y, 0), plane.shape[0] - 1), min(max(x, 0), plane.shape[1] - 1)]


def window(plane: npt.NDArray[Any], row: int, col: int, ctu: int) -> npt.NDArray[Any]:
    """64x64 around a CTU, its centre in the middle, pixel by pixel."""
    top, left = row * ctu + ctu // 2 - 32, col * ctu + ctu // 2 - 32
    return np.array([[at(plane, top + y, left + x) for x in range(64)] for y in range(64)])


def expected_features(
    image: npt.NDArray[np.uint8],
    importance: npt.NDArray[np.float32],
    qps: list[int],
    base_qp: int,
    ctu: int,
) -> dict[str, float]:
    """The features of the CTU after `qps` were decided, block by block in double precision."""
    rows, cols = -(-image.shape[0] // ctu), -(-image.shape[1] // ctu)
    index = min(len(qps), rows * cols - 1)
    row, col = divmod(index, cols)

    def block(plane: npt.NDArray[Any], r: int, c: int) -> npt.NDArray[np.float64]:
        return np.asarray(plane[r * ctu : (r + 1) * ctu, c * ctu : (c + 1) * ctu], np.float64)

    grey, seen = block(image, row, col), block(importance, row, col)
    gradients = [
        (
            abs(float(image[y, x]) - at(image, y, x - 1))
            + abs(float(image[y, x]) - at(image, y - 1, x))
        )
        / 2
        for y in range(row * ctu, min((row + 1) * ctu, image.shape[0]))
        for x in range(col * ctu, min((col + 1) * ctu, image.shape[1]))
    ]
    near = [
        (r, c)
        for r in range(max(row - 1, 0), min(row + 2, rows))
        for c in range(max(col - 1, 0), min(col + 2, cols))
        if (r, c) != (row, col)
    ]

    def around(plane: npt.NDArray[Any]) -> float:
        beside = [block(plane, r, c).ravel() for r, c in near]
        return float(np.concatenate(beside).mean()) if beside else 0.0

    def weighted(weight: npt.NDArray[Any], plane: npt.NDArray[Any]) -> float:
        here = block(weight, row, col)
        return float((here * block(plane, row, col)).sum() / max(here.sum(), 1.0))

    def rate(qp: int) -> float:
        bits = float(complexity(image, ctu, qp)[row, col] / grey.size)
        return min(1.0, float(np.log2(1 + 255 * bits) / 8))

    offsets = [qp - base_qp for qp in qps]
    uncertainty = 4 * importance * (1 - importance)
    faint = (importance > 0.05) & (importance < 0.5)
    detail, contrast = apart(image, 5), apart(image, 13)
    return {
        "base_qp": base_qp / 51,
        "progress": len(qps) / (rows * cols),
        "ctu_size": ctu / 64,
        "row": (row + 0.5) / rows,
        "column": (col + 0.5) / cols,
        "coverage": grey.size / ctu**2,
        "mean": grey.mean() / 255,
        "std": min(1.0, grey.std() / 127.5),
        "gradient": min(1.0, 3 * np.sqrt(float(np.mean(gradients)) / 255)),
        "detail": min(1.0, 3 * np.sqrt(block(detail, row, col).mean())),
        "rate_22": rate(22),
        "rate_32": rate(32),
        "rate_42": rate(42),
        "importance_mean": np.sqrt(seen.mean()),
        "importance_max": seen.max(),
        "importance_around": np.sqrt(around(importance)),
        "importance_share": np.sqrt(seen.sum() / float(importance.sum(dtype=np.float64))),
        "importance_total": min(1.0, 2 * np.sqrt(importance.mean(dtype=np.float64))),
        "uncertainty": min(1.0, 2 * np.sqrt(block(uncertainty, row, col).mean())),
        "uncertainty_around": min(1.0, 2 * np.sqrt(around(uncertainty))),
        "low_confidence": min(1.0, 2 * np.sqrt(block(faint, row, col).mean())),
        "low_confidence_around": min(1.0, 2 * np.sqrt(around(faint))),
        "important_mean": weighted(importance, image / 255),
        "important_contrast": min(1.0, 3 * np.sqrt(weighted(importance, contrast))),
        "important_detail": min(1.0, 3 * np.sqrt(weighted(importance, detail))),
        "uncertain_contrast": min(1.0, 3 * np.sqrt(weighted(uncertainty, contrast))),
        "offset_mean": float(np.mean(offsets)) / 51 if offsets else 0.0,
        "offset_left": offsets[index - 1] / 51 if col else 0.0,
        "offset_above": offsets[index - cols] / 51 if row else 0.0,
    }


def apart(image: npt.NDArray[np.uint8], side: int) -> npt.NDArray[np.float64]:
    """Absolute difference of each pixel to the mean of the square around it, 0..1."""
    padded = np.pad(image.astype(np.float64) / 255, side // 2, mode="edge")
    squares = np.lib.stride_tricks.sliding_window_view(padded, (side, side))
    return np.asarray(np.abs(image / 255 - squares.mean(axis=(2, 3))), np.float64)


def check(env: CodingEnv, observation: dict[str, Any], qps: list[int]) -> None:
    """Compare an observation with what it should be."""
    image, importance = env.reference.sample.image, env.reference.importance
    ctu, (rows, cols) = env.ctu_size, env.qp_map.shape
    row, col = divmod(min(len(qps), rows * cols - 1), cols)
    assert env.observation_space.contains(observation)
    seen = np.rint(importance * 255).astype(np.uint8)
    np.testing.assert_array_equal(observation["ctu"][0], window(image, row, col, ctu))
    np.testing.assert_array_equal(observation["ctu"][1], window(seen, row, col, ctu))
    for plane, small in zip((image, seen), observation["frame"], strict=True):
        expected = cv2.resize(plane, (64, 64), interpolation=cv2.INTER_AREA)
        np.testing.assert_array_equal(small, expected)
    expected_values = expected_features(image, importance, qps, env.base_qp, ctu)
    assert tuple(expected_values) == FEATURES
    for name, value in zip(FEATURES, observation["features"], strict=True):
        assert value == pytest.approx(expected_values[name], abs=2e-4), name


@pytest.mark.parametrize("ctu_size", [64, 32, 16])
@pytest.mark.parametrize("shape", SHAPES)
def test_every_observation_of_an_episode(shape: tuple[int, int], ctu_size: int) -> None:
    env = small_env(dataset=[Sample(texture(shape))], ctu_size=ctu_size, reward="linear")
    rng = np.random.default_rng(1)
    observation, _ = env.reset(seed=0)
    qps: list[int] = []
    count = env.qp_map.size
    looked_at = {0, 1, count - 2, count - 1, *range(0, count, 1 + count // 8)}
    while True:
        if len(qps) in looked_at:
            check(env, observation, qps)
        action = int(rng.integers(13))
        qps.append(int(np.clip(env.base_qp + env.qp_offsets[action], 0, 51)))
        observation, _, terminated, truncated, _ = env.step(action)
        assert not truncated
        if terminated:
            break
    check(env, observation, qps)
    assert env.qp_map.ravel().tolist() == qps


def test_progress_shows_where_we_are_and_what_is_decided() -> None:
    env = small_env(dataset=[Sample(texture((256, 128)))], reward="linear")  # 4 x 2 CTUs
    observation, _ = env.reset(seed=0, options={"base_qp": 30})
    actions = [0, 3, 12, 5, 8, 1, 2]
    for index in range(8):
        rows, cols = divmod(index, 2)
        here, decided = np.zeros((64, 64)), np.zeros((64, 64))
        here[rows * 16 : rows * 16 + 16, cols * 32 : cols * 32 + 32] = 255
        for done, action in enumerate(actions[:index]):
            y, x = done // 2 * 16, done % 2 * 32
            qp = min(51, 30 + env.qp_offsets[action])
            decided[y : y + 16, x : x + 32] = 4 * (qp + 1)
        np.testing.assert_array_equal(observation["progress"][0], here)
        np.testing.assert_array_equal(observation["progress"][1], decided)
        if index < 7:
            observation, *_ = env.step(actions[index])


@settings(max_examples=10)
@given(st.integers(1, 80), st.integers(1, 80), st.sampled_from([64, 32, 16]))
def test_progress_covers_the_whole_picture_in_the_end(height: int, width: int, ctu: int) -> None:
    env = small_env(dataset=[Sample(texture((height, width)))], ctu_size=ctu, reward="linear")
    observation, _ = env.reset(seed=0, options={"base_qp": 40})
    terminated = False
    while not terminated:
        assert (observation["progress"][0] == 255).any()
        observation, _, terminated, _, _ = env.step(3)
    assert set(np.unique(observation["progress"][1])) == {4 * 41}


def test_the_frame_stays_and_the_rest_moves() -> None:
    env = small_env()
    first, _ = env.reset(seed=0)
    second, *_ = env.step(12)
    np.testing.assert_array_equal(first["frame"], second["frame"])
    for key in ("ctu", "progress", "features"):
        assert (first[key] != second[key]).any()


@pytest.mark.parametrize("grey", [0, 1, 127, 200, 255])
def test_a_flat_image_has_no_deviation(grey: int) -> None:
    env = small_env(dataset=[Sample(np.full((150, 130), grey, np.uint8))], reward="linear")
    observation, _ = env.reset(seed=0)
    features = dict(zip(FEATURES, observation["features"].tolist(), strict=True))
    assert features["std"] == pytest.approx(0.0, abs=1e-4)
    assert features["gradient"] == 0.0
    assert features["mean"] == pytest.approx(grey / 255, abs=1e-6)


def nothing(images: Any) -> Any:
    return np.zeros(images.shape, np.float32)


def everything(images: Any) -> Any:
    return np.ones(images.shape, np.float32)


@pytest.mark.parametrize(("segmenter", "level"), [(nothing, 0), (everything, 1)])
def test_extreme_importance(segmenter: Any, level: int) -> None:
    env = small_env(segmenter=segmenter, reward="linear")
    observation, _ = env.reset(seed=0)
    features = dict(zip(FEATURES, observation["features"].tolist(), strict=True))
    assert features["importance_mean"] == features["importance_max"] == level
    assert features["importance_around"] == level
    assert set(np.unique(observation["ctu"][1])) == {255 * level}
    assert features["importance_share"] == pytest.approx(np.sqrt(level * 64 * 64 / 130**2))


def test_shapes_depend_on_neither_ctu_nor_image() -> None:
    spaces = {
        repr(small_env(ctu_size=ctu, dataset=[phantoms(1, size)[0]]).observation_space)
        for ctu in (64, 32, 16)
        for size in (16, 200)
    }
    assert len(spaces) == 1


def test_a_transition_takes_what_the_documentation_says() -> None:
    observation, _ = small_env().reset(seed=0)
    size = sum(array.nbytes for array in observation.values())
    assert f"{size / 1000:.1f} kB" in (CodingEnv.__doc__ or "")
    assert f"{2 * size * 100_000 / 1e9:.1f} GB" in (CodingEnv.__doc__ or "")


@pytest.mark.slow
@pytest.mark.parametrize("ctu_size", [64, 16])
def test_a_large_image(ctu_size: int) -> None:
    sample = Sample(texture((2000, 1900)))
    env = small_env(dataset=[sample], ctu_size=ctu_size, reward="linear")
    observation, _ = env.reset(seed=0)
    qps: list[int] = []
    for _ in range(env.qp_map.size - 1):
        observation, *_ = env.step(5)
        qps.append(env.base_qp + env.qp_offsets[5])
    check(env, observation, qps)
