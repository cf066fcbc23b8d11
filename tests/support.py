"""What several test modules need; imported as ``tests.support``, so that it pickles."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from dmic_gym.envs.coding_env import CodingEnv
from dmic_gym.tasks.data.phantoms.dataset import Phantoms
from dmic_gym.tasks.data.sample import Sample

Image = npt.NDArray[np.uint8]
ROOT = Path(__file__).parent.parent

# The anchor's string of the design, written out: a plain x265 run knows nothing of our code.
ANCHOR = (
    "crf={qp}:qcomp=1:ipratio=1:pbratio=1:aq-mode=1:aq-strength=1e-6:cutree=0:keyint=1:"
    "log-level=none:frame-threads=1:pools=none:wpp=0:rc-lookahead=0:bframes=0:scenecut=0:info=0:"
    "ctu={ctu}:qg-size={ctu}:psy-rd=0:psy-rdoq=0:rdoq-level=2"
)


def vesselness(images: Image, /) -> npt.NDArray[np.float32]:
    """A segmenter without weights: how much darker a pixel is than its wider surroundings."""
    import cv2

    def probability(image: Image) -> npt.NDArray[np.float64]:
        grey = image.astype(np.float32)
        fine, coarse = (cv2.GaussianBlur(grey, (0, 0), sigma) for sigma in (1.0, 6.0))
        return np.asarray(1.0 / (1.0 + np.exp(4.0 - 0.5 * (coarse - fine))))

    return np.stack([probability(image) for image in images]).astype(np.float32)


def binary_noise(shape: tuple[int, int], seed: int = 0) -> Image:
    """An image in which every CTU codes residual at every QP."""
    bits = np.random.default_rng(seed).integers(0, 2, shape, dtype=np.uint8)
    return np.asarray(bits * 255, np.uint8)


def texture(shape: tuple[int, int], seed: int = 0) -> Image:
    """A smooth image with some noise."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[0 : shape[0], 0 : shape[1]]
    waves = 128 + 60 * np.sin(x / 9.0 + seed) * np.cos(y / 13.0)
    return np.asarray(np.clip(waves + rng.normal(0, 6, shape), 0, 255), np.uint8)


def random_map(
    shape: tuple[int, int], ctu_size: int, seed: int = 0, low: int = 0, high: int = 51
) -> npt.NDArray[np.int64]:
    """A QP map of an image of `shape` that holds `low` and `high` and QPs between."""
    rows, cols = -(-shape[0] // ctu_size), -(-shape[1] // ctu_size)
    qps = np.random.default_rng(seed).integers(low, high + 1, (rows, cols))
    qps.flat[:1], qps.flat[-1:] = low, high
    return qps


def plain_x265(image: Image, qp: int, ctu_size: int, preset: str) -> bytes:
    """Code one picture with x265 and the anchor's string, without any region of interest."""
    import av

    context: Any = av.VideoCodecContext.create("libx265", "w")
    context.height, context.width = image.shape
    context.pix_fmt, context.time_base = "gray", Fraction(1, 25)
    context.options = {"preset": preset, "x265-params": ANCHOR.format(qp=qp, ctu=ctu_size)}
    packets = context.encode(av.VideoFrame.from_ndarray(image, format="gray"))
    return b"".join(bytes(packet) for packet in [*packets, *context.encode(None)])


def phantoms(count: int = 3, size: int | tuple[int, int] = 130, seed: int = 0) -> list[Sample]:
    """Small phantoms, made once."""
    return list(Phantoms(count, size, seed))


def small_env(**kwargs: Any) -> CodingEnv:
    """A CodingEnv on small phantoms that needs no weights and encodes fast."""
    settings: dict[str, Any] = {
        "dataset": Phantoms(3, 130),
        "segmenter": vesselness,
        "preset": None if "codec" in kwargs else "ultrafast",
    }
    return CodingEnv(**(settings | kwargs))


def play(
    env: Any, choose: Callable[[dict[str, Any]], int], **reset: Any
) -> tuple[float, dict[str, Any]]:
    """Play one episode; return the last reward and info."""
    observation, _ = env.reset(**reset)
    while True:
        observation, reward, terminated, truncated, info = env.step(choose(observation))
        if terminated or truncated:
            return float(reward), info


def trajectory(seed: int, episodes: int = 2) -> str:
    """Digest of all that seeded episodes with seeded actions show, bitstreams included."""
    env = small_env()
    env.action_space.seed(seed)
    digest = hashlib.sha256()
    for episode in range(episodes):
        observation, info = env.reset(seed=seed if episode == 0 else None)
        over = False
        while not over:
            for key in sorted(observation):
                digest.update(observation[key].tobytes())
            observation, reward, terminated, truncated, info = env.step(env.action_space.sample())
            digest.update(repr((reward, terminated, truncated)).encode())
            over = terminated or truncated
        assert env.result is not None
        digest.update(env.result.encoded.bitstream)
        digest.update(env.result.encoded.reconstruction.tobytes())
        digest.update(repr(sorted((k, str(v)) for k, v in info.items())).encode())
    env.close()
    return digest.hexdigest()


def python(*arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run a fresh interpreter in the project's root."""
    path = os.pathsep.join(p for p in (str(ROOT), os.environ.get("PYTHONPATH")) if p)
    return subprocess.run(
        [sys.executable, *arguments],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": path, **variables},
        capture_output=True,
        text=True,
        check=False,
    )


def error_line(result: tuple[int, str, str]) -> str:
    """The one line that an error of ours prints after the progress bar's."""
    code, out, err = result
    assert code == 2
    assert "wrote" not in out
    assert "Traceback" not in err
    lines = [line for line in err.splitlines() if "Error:" in line]
    assert len(lines) == 1
    assert err.rstrip().endswith(lines[0].rstrip())
    return lines[0]
