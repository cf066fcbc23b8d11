"""Whoever chooses QPs asks the codec which it has: one with fewer is never asked for others."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence

import numpy as np

from dmic_gym.agents.registry import make_agent
from dmic_gym.agents.search.objective import Objective
from dmic_gym.agents.search.refine import refine
from dmic_gym.codecs import Codec, Encoded, X265Codec
from dmic_gym.envs.coding_env import CodingEnv
from dmic_gym.types import AnyQPMap, Samples
from tests.support import phantoms, play, vesselness


class NarrowCodec:
    """A user's codec: nothing but the protocol, and QPs 20..35."""

    ctu_size = 64
    qp_range = (20, 35)

    def __init__(self) -> None:
        self._codec = X265Codec(64, "ultrafast")
        self.coded = set[int]()

    def encode(self, frames: Sequence[Samples], qp_maps: Iterable[AnyQPMap]) -> list[Encoded]:
        maps = [np.asarray(qp_map) for qp_map in qp_maps]
        self.coded |= {int(qp) for qp_map in maps for qp in qp_map.flat}
        return self._codec.encode(frames, maps)

    def decode(self, bitstream: bytes) -> Samples:
        return self._codec.decode(bitstream)

    def close(self) -> None:
        self._codec.close()


def test_environments_planners_and_search_stay_within_it() -> None:
    codec = NarrowCodec()
    assert isinstance(codec, Codec)
    env = CodingEnv(
        phantoms(1, 130),
        segmenter=vesselness,
        codec=codec,
        reward="linear",
        base_qps=(26,),
        qp_offsets=(-10, -3, 0, 6, 15),
    )
    actions = itertools.cycle((0, len(env.qp_offsets) - 1))  # the lowest and the highest offset
    _, info = play(env, lambda _: next(actions), options={"base_qp": 26})
    assert (info["qp_map"].min(), info["qp_map"].max()) == codec.qp_range
    reference = env.evaluator.reference(env.dataset[0])
    for base_qp in codec.qp_range:
        make_agent("random", env.evaluator, qp_offsets=env.qp_offsets).plan(
            env.evaluator, reference, base_qp
        )
    objective = Objective(env.evaluator, reference, reference.importance, 1e-9)
    refine(objective, objective.try_uniform(34), 12)
    assert {20, 35} <= codec.coded <= set(range(20, 36))
