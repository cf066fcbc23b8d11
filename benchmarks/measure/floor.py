"""(a) Time of an episode over encode + decode + segmentation of the same image."""

from __future__ import annotations

import itertools

import numpy as np
import numpy.typing as npt

from dmic_gym.envs.coding_env import CodingEnv
from dmic_gym.envs.parallel import default_workers, start_pool
from dmic_gym.envs.vector_env import CodingVectorEnv
from dmic_gym.tasks.data import Sample
from dmic_gym.tasks.segmenters.protocol import Segmenter
from dmic_gym.tasks.threads import one_torch_thread
from measure.common import (
    BASE_QP,
    Row,
    Scale,
    interleave,
    median,
    network,
    random_actions,
    ratio,
    samples,
    seconds,
)

Actions = npt.NDArray[np.int64]
CTUS = 25
"""Of a 300x300 image at CTU 64."""


def free(images: npt.NDArray[np.uint8], /) -> npt.NDArray[np.float32]:
    """A segmenter that costs nothing, to see what the environment costs beside the encoder."""
    return np.zeros(images.shape, np.float32)


def single(scale: Scale) -> list[Row]:
    """One environment against bare calls, one thread, anchors cached."""
    data = samples(scale.images)
    with one_torch_thread():
        return [
            *(_single_row(scale, data, network(), preset, "network") for preset in scale.presets),
            _single_row(scale, data, free, scale.presets[0], "free"),
        ]


def _single_row(
    scale: Scale, data: list[Sample], segmenter: Segmenter, preset: str, name: str
) -> Row:
    env = CodingEnv(data, segmenter=segmenter, preset=preset, base_qps=(BASE_QP,))
    actions = random_actions(CTUS, len(data)).T.tolist()
    images = itertools.cycle(range(len(data)))
    maps = []

    def visit() -> None:
        for image in range(len(data)):
            _episode(env, image, actions[image])
            maps.append(env.qp_map)

    first = seconds(visit)
    turn = [0]

    def ours() -> None:
        _episode(env, turn[0], actions[turn[0]])

    def floor() -> None:
        encoded = env.evaluator.codec.encode([data[turn[0]].image], [maps[turn[0]]])[0]
        segmenter(encoded.reconstruction[np.newaxis])

    times: dict[str, list[float]] = {"ours": [], "floor": []}
    for _ in range(scale.rounds * len(data)):
        turn[0] = next(images)
        for key, taken in interleave({"ours": ours, "floor": floor}, 1).items():
            times[key] += taken
    env.close()
    return _row(f"single, {preset}, {name} segmenter", times, 1, first / len(data))


def _episode(env: CodingEnv, image: int, actions: list[int]) -> None:
    env.reset(options={"sample": image, "base_qp": BASE_QP})
    for action in actions:
        env.step(action)


def vector(scale: Scale) -> list[Row]:
    """The vector environment against a bare pool of as many threads at the best batch."""
    return [_vector_row(scale, preset) for preset in scale.presets]


def _vector_row(scale: Scale, preset: str) -> Row:
    data, segmenter, count = samples(scale.images), network(), scale.images
    env = CodingVectorEnv(
        count, dataset=data, segmenter=segmenter, preset=preset, base_qps=(BASE_QP,)
    )
    actions = random_actions(CTUS, count)
    options = {"sample": list(range(count)), "base_qp": BASE_QP}

    def ours() -> None:
        env.reset(options=options)
        for chosen in actions:
            env.step(chosen)

    first = seconds(ours)
    ours()
    maps = [result.qp_map for result in env.results if result is not None]
    pool = start_pool(default_workers())

    def one(image: int) -> None:
        encoded = env.evaluator.codec.encode([data[image].image], [maps[image]])[0]
        segmenter(encoded.reconstruction[np.newaxis])

    times = interleave(
        {"ours": ours, "floor": lambda: list(pool.map(one, range(count)))}, scale.rounds
    )
    env.close()
    pool.shutdown()
    return _row(f"vector of {count}, {preset}, network segmenter", times, count, first / count)


def _row(name: str, times: dict[str, list[float]], images: int, first: float) -> Row:
    ours, floor = median(times["ours"]) / images, median(times["floor"]) / images
    return {
        "form": name,
        "episode ms": 1e3 * ours,
        "floor ms": 1e3 * floor,
        "over floor ms": 1e3 * (ours - floor),
        "ratio": ratio(times["ours"], times["floor"]),
        "first visit ms": 1e3 * first,
    }
