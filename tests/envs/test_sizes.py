from pathlib import Path

import cv2
import gymnasium as gym
import numpy as np
import pytest

import dmic_gym  # noqa: F401
from dmic_gym.codecs.base import map_shape
from dmic_gym.envs.coding_env import CodingEnv
from dmic_gym.tasks.data import Phantoms
from tests.support import play, vesselness

SIZES = ((64, 64), (512, 700), (33, 47), (16, 130), (301, 299))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for height, width in SIZES:
        phantom = Phantoms(1, (height, width))[0]
        assert phantom.mask is not None
        cv2.imwrite(str(tmp_path / f"{height}x{width}.png"), phantom.image)
        cv2.imwrite(str(tmp_path / f"{height}x{width}_gt.png"), phantom.mask * np.uint8(255))
    return tmp_path


@pytest.mark.parametrize(("ctu_size", "preset"), [(64, "medium"), (16, "ultrafast")])
def test_mixed_folder_end_to_end(folder: Path, ctu_size: int, preset: str) -> None:
    env = gym.make(
        "CodingEnv-v0", dataset=folder, segmenter=vesselness, ctu_size=ctu_size, preset=preset
    )
    inner = env.unwrapped
    assert isinstance(inner, CodingEnv)
    rng = np.random.default_rng(5)
    for size in SIZES:
        options = {"sample": "{}x{}".format(*size), "base_qp": 32}
        reward, info = play(env, lambda _: int(rng.integers(13)), options=options)
        assert np.isfinite(reward)
        assert info["qp_map"].shape == map_shape(size, ctu_size)
        assert len(np.unique(info["qp_map"])) > 1 or info["qp_map"].size == 1
        assert inner.result is not None
        decoded = inner.evaluator.codec.decode(inner.result.encoded.bitstream)
        assert decoded.shape == (1, *size)
        assert np.array_equal(decoded[0], inner.result.encoded.reconstruction)
        assert info["psnr"] > 15
    env.close()


def test_random_samples_reach_every_size(folder: Path) -> None:
    with gym.make("CodingEnv-v0", dataset=str(folder), segmenter=vesselness) as env:
        seen = {env.reset(seed=seed)[1]["sample"] for seed in range(40)}
    assert seen == {f"{height}x{width}" for height, width in SIZES}


def test_davis_folder_by_path(tmp_path: Path) -> None:
    for i, phantom in enumerate(Phantoms(2, (100, 170))):
        assert phantom.mask is not None
        for kind, pixels in (("JPEGImages", phantom.image), ("Annotations", phantom.mask)):
            file = tmp_path / kind / "480p" / "heart" / f"{i:05d}"
            file.parent.mkdir(parents=True, exist_ok=True)
            suffix = ".jpg" if kind == "JPEGImages" else ".png"
            cv2.imwrite(f"{file}{suffix}", pixels.astype(np.uint8))
    with gym.make("CodingEnv-v0", dataset=str(tmp_path), segmenter=vesselness) as env:
        _, info = play(env, lambda _: 3, options={"sample": "heart/00001", "base_qp": 37})
    assert info["sample"] == "heart/00001"
    assert info["qp_map"].tolist() == [[37] * 3] * 2
    assert info["bits"] == info["anchor_bits"]
    assert 0 <= info["dice"] <= 1
