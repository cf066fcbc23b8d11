"""Coding one cell, with what the cells of one encoder and one pair of networks share."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import fields, replace
from functools import lru_cache
from typing import Any

import numpy as np

from dmic_gym.agents.planning import Planner
from dmic_gym.agents.registry import make_agent
from dmic_gym.agents.search.posterior_cache import PosteriorCache
from dmic_gym.bench.cells import Cell, find_still
from dmic_gym.bench.held_out import HeldOutSegmenter
from dmic_gym.bench.runner import Row, code_image, make_row
from dmic_gym.codecs.base import Encoded
from dmic_gym.envs.evaluator import Anchors, Evaluator
from dmic_gym.envs.results import EncodeResult, Figures, Reference, encode_result, sample_key
from dmic_gym.envs.rewards import make_reward
from dmic_gym.envs.settings import DEFAULT_QP_OFFSETS, make_codec
from dmic_gym.tasks.data.sample import Sample
from dmic_gym.tasks.segmenters.find import find_segmenter

_KEPT = 4


class Workbench:
    """Encoder, networks and agents, with all that they keep of images seen.

    Attributes:
        evaluator: encoder and segmenter.
        qp_offsets: the action table.
        segmenter: that judges.
        second: that only scores, or None.
        agent_provenance: what each agent brings into a cell's identity, by spec and seed.

    Args:
        codec: ``"x265"`` or ``"ffmpeg"``.
        ctu_size: of the encoder.
        preset: of the encoder.
        segmenter: see `find_segmenter`.
        second: the same, for the network that only scores; empty for none.
    """

    def __init__(self, codec: str, ctu_size: int, preset: str, segmenter: str, second: str) -> None:
        self.segmenter = find_segmenter(segmenter, dtype="float32")  # so that machines agree
        self.second = None
        if second:
            self.second = HeldOutSegmenter(find_segmenter(second, dtype="float32"))
        self.evaluator = Evaluator(make_codec(codec, ctu_size, preset), self.segmenter)
        self.qp_offsets = DEFAULT_QP_OFFSETS
        self._posteriors = PosteriorCache(self.segmenter)
        self.agent_provenance: dict[tuple[str, int], dict[str, Any]] = {}
        self._agents: dict[tuple[str, int], Planner] = {}
        self._last: tuple[tuple[Cell, bytes], Row] | None = None

    def agent(self, spec: str, seed: int) -> Planner:
        """Return the agent of that spec and seed; see `make_agent`."""
        key = (spec, seed)
        if key not in self._agents:
            self._agents[key] = make_agent(
                spec,
                self.evaluator,
                qp_offsets=self.qp_offsets,
                posteriors=self._posteriors,
                seed=seed,
            )
        return self._agents[key]

    def code(self, cell: Cell, sample: Sample) -> tuple[Row, float | None]:
        """Code a cell's image; return the row, and the reward unless a still codec coded it.

        Raises:
            CodecError: an encoder or decoder failed.
            SegmenterError: a segmenter failed.
        """
        row = self._row(cell, sample)
        return row, None if cell.is_still else self._reward(cell, sample, row)

    def replay(self, cell: Cell, sample: Sample, qp_map: list[list[int]]) -> Row:
        """Code a cell's image with a given map (a still codec with ``[[quality]]``): no agent.

        Raises:
            InvalidInputError: the map does not fit the image.
            CodecError: an encoder or decoder failed.
            SegmenterError: a segmenter failed.
        """
        reference = self.evaluator.reference(sample)
        begin = time.perf_counter()
        if cell.is_still:
            found = self._score_still(cell, reference, qp_map)
        else:
            found = self.evaluator.score(reference, np.array(qp_map))
        seconds = time.perf_counter() - begin
        return make_row(sample, cell.base_qp, found, self.second, encodes=1, seconds=seconds)

    def _row(self, cell: Cell, sample: Sample) -> Row:
        """Code, unless the last cell differed in the reward alone."""
        if cell.is_still:
            return self.replay(cell, sample, [[cell.base_qp]])
        key = (replace(cell, reward=""), sample_key(sample))
        if self._last is None or self._last[0] != key:
            agent = self.agent(cell.agent, cell.seed)
            self._last = key, code_image(self.evaluator, agent, sample, cell.base_qp, self.second)
        return self._last[1]

    def _reward(self, cell: Cell, sample: Sample, row: Row) -> float:
        evaluator = self.evaluator
        figures = Figures(**{field.name: getattr(row, field.name) for field in fields(Figures)})
        anchors = Anchors(evaluator, evaluator.reference(sample), cell.base_qp)
        return float(sum(make_reward(cell.reward)(figures, anchors).values()))

    def _score_still(
        self, cell: Cell, reference: Reference, qp_map: list[list[int]]
    ) -> EncodeResult:
        still = find_still(cell.codec)
        data = still.encode(reference.sample.image, qp_map[0][0])
        decoded = still.decode(data)
        encoded = Encoded(data, decoded, 8 * len(data), 8 * still.payload_size(data))
        return encode_result(
            reference, encoded, self.evaluator.segment([decoded])[0], np.array(qp_map)
        )


def workbench(cell: Cell) -> Workbench:
    """Return the workbench for a cell, made once in a process while it is among the last few."""
    if cell.is_still:
        return _workbench("x265", 64, "medium", cell.segmenter, cell.second)
    return _workbench(cell.codec, cell.ctu_size, cell.preset, cell.segmenter, cell.second)


_workbench: Callable[..., Workbench] = lru_cache(_KEPT)(Workbench)
