"""Many `CodingEnv` episodes in lockstep, encoded by a pool of threads."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Unpack

import gymnasium as gym
import numpy as np
import numpy.typing as npt
from gymnasium.utils import seeding
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space

from dmic_gym.codecs.base import Codec
from dmic_gym.envs.base import CodingArguments, CodingSetup, error_info
from dmic_gym.envs.evaluator import TOOL_ERRORS, EncodeResult, Evaluator, Reference, ToolError
from dmic_gym.envs.observation_batch import ObservationBatch
from dmic_gym.envs.observations import Observation, observation_space
from dmic_gym.envs.parallel import ParallelEvaluator, default_workers
from dmic_gym.envs.settings import check_count
from dmic_gym.errors import InvalidInputError
from dmic_gym.tasks.segmenters.protocol import Segmenter

Info = dict[str, Any]
Flags = npt.NDArray[np.bool_]
Rewards = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Finished:
    """An episode that ended in a step.

    Attributes:
        row: its sub-environment.
        reward: the step's.
        truncated: whether a tool failed; otherwise the episode terminated.
        observation: the last one.
        info: as `CodingEnv.step` gives it.
        reset_info: of the episode that follows, as `CodingEnv.reset` gives it.
    """

    row: int
    reward: float
    truncated: bool
    observation: Observation
    info: Info
    reset_info: Info


class CodingVectorEnv(CodingSetup, VectorEnv[Observation, Any, npt.NDArray[Any]]):
    """Many `CodingEnv` episodes in lockstep: ``gym.make_vec("CodingEnv-v0", num_envs=64)``.

    Same observations, actions, QP maps, bitstreams and figures as `CodingEnv` for the same seeds
    and actions. The steps of all sub-environments are array operations on observation buffers
    that are made once. The episodes that end in a step are encoded in a thread pool and
    segmented in the batches that suit the segmenter best. Images may differ in size; their
    episodes then end at different steps. Originals, importance maps and anchor encodes are shared
    by all sub-environments.

    Autoreset is SAME_STEP, as ``metadata["autoreset_mode"]`` says: the step that ends an episode
    returns the next one's first observation; the last observation and info of the old one are in
    ``infos["final_obs"]`` and ``infos["final_info"]``. Maps of different shapes make
    ``infos["final_info"]["qp_map"]`` an array of objects.

    Sub-environment i is seeded with ``seed + i``, or with item i of a list. ``reset(options=)``
    takes what `CodingEnv.reset` takes, for all sub-environments, or a list of `num_envs` values
    for one each (``{"sample": [0, 1, 2], "base_qp": 32}``), and Gymnasium's ``reset_mask``.

    A failure of codec or segmenter truncates the one episode that it hits.

    Attributes:
        results: of the last episode that ended in each sub-environment, with bitstream and
            reconstruction; None before, and after a failure.

    Args:
        num_envs: number of episodes in step.
        copy: return copies of the observation buffers; without, the next call overwrites what the
            last one returned.
        workers: threads that encode; default: one a processor.
        segment_batch: images the segmenter gets at once; default: measured at first use.
        render_mode: "rgb_array" or None.
        **arguments: those of `CodingEnv`.

    Raises:
        InvalidInputError: an argument is none of the valid ones.
        DataError: the folder holds no readable images.
    """

    metadata: dict[str, Any] = {  # noqa: RUF012
        "render_modes": ["rgb_array"],
        "render_fps": 4,
        "autoreset_mode": AutoresetMode.SAME_STEP,
    }

    def __init__(
        self,
        num_envs: int = 1,
        *,
        copy: bool = True,
        workers: int | None = None,
        segment_batch: int | None = None,
        render_mode: str | None = None,
        **arguments: Unpack[CodingArguments],
    ) -> None:
        self.num_envs = check_count("num_envs", num_envs)
        self._workers = default_workers() if workers is None else check_count("workers", workers)
        self._segment_batch = segment_batch
        if segment_batch is not None:
            check_count("segment_batch", segment_batch)
        super().__init__(**arguments)
        self.copy = copy
        self.render_mode = render_mode
        self.single_observation_space = observation_space()
        self.single_action_space = gym.spaces.Discrete(len(self.qp_offsets))
        self.observation_space = batch_space(self.single_observation_space, self.num_envs)
        self.action_space = batch_space(self.single_action_space, self.num_envs)
        self.results: list[EncodeResult | None] = [None] * self.num_envs
        self._rngs: list[np.random.Generator | None] = [None] * self.num_envs
        self._references: list[Reference | None] = [None] * self.num_envs
        self._batch = ObservationBatch(self.num_envs)
        self._ready = False

    @property
    def references(self) -> list[Reference]:
        """The image of each running episode with its importance map."""
        self._check_ready()
        return [self._reference(row) for row in range(self.num_envs)]

    @property
    def episode_base_qps(self) -> npt.NDArray[np.int64]:
        """The base QP of each running episode, int64 (num_envs,)."""
        return self._batch.base_qps.copy()

    def reset(
        self,
        *,
        seed: int | Sequence[int | None] | None = None,
        options: dict[str, Any] | None = None,
    ) -> tuple[Observation, Info]:
        """Start episodes in all sub-environments, or in those of ``options["reset_mask"]``.

        Raises:
            InvalidInputError: `seed` or `options` do not fit; see the class.
        """
        self._check_open()
        seeds = self._seeds(seed)
        given = dict(options or {})
        rows = self._masked(given.pop("reset_mask", None))
        self._ready = self._ready and len(rows) < self.num_envs
        for row in rows:
            if seeds[row] is not None:
                self._rngs[row] = seeding.np_random(seeds[row])[0]
            self.results[row] = None
        infos: Info = {}
        for row, info in zip(rows, self._begin(rows, self._per_row(given)), strict=True):
            infos = self._add_info(infos, info, row)
        self._ready = self._ready or all(self._references)
        return self._observations(), infos

    def step(self, actions: Any) -> tuple[Observation, Rewards, Flags, Flags, Info]:
        """Set the QP of each current CTU; see `CodingEnv.step`, and the class for autoreset.

        Args:
            actions: integers (num_envs,).

        Raises:
            InvalidInputError: the actions are not in the action space.
            ResetNeeded: there was no reset, or the last step raised an error.
        """
        observations, finished = self.advance(actions)
        rewards = np.zeros(self.num_envs, np.float64)
        terminations, truncations = np.zeros((2, self.num_envs), np.bool_)
        infos: Info = {}
        for end in finished:
            rewards[end.row] = end.reward
            terminations[end.row], truncations[end.row] = not end.truncated, end.truncated
            last = {"final_obs": end.observation, "final_info": end.info}
            infos = self._add_info(infos, last, end.row)
            infos = self._add_info(infos, end.reset_info, end.row)
        return observations, rewards, terminations, truncations, infos

    def advance(self, actions: Any) -> tuple[Observation, list[Finished]]:
        """Do what `step` does; return the observations and the episodes that ended."""
        self._check_ready()
        chosen = self._checked_actions(actions)
        self._ready = False  # until all is well: an error leaves episodes half finished
        self._batch.decide(self._qps[self._batch.base_qps, chosen])
        self._batch.observe()
        over = self._batch.over()
        finished = self._finish(over) if over else []
        self._ready = True
        return self._observations(), finished

    def render(self) -> tuple[npt.NDArray[np.uint8], ...] | None:
        """Return a picture of each running episode, as `CodingEnv.render` draws it."""
        if self.render_mode is None:
            gym.logger.warn('render() needs gym.make_vec(..., render_mode="rgb_array").')
            return None
        from dmic_gym.envs.rendering import draw

        maps = [self._batch.qp_map(row) for row in range(self.num_envs)]
        drawn = zip(self.references, maps, strict=True)
        return tuple(draw(reference, qp_map, self.ctu_size, None) for reference, qp_map in drawn)

    def close_extras(self, **_: Any) -> None:
        """End the thread pool and free the codec's encoders."""
        self._ready = False
        self.evaluator.close()

    def _make_evaluator(self, codec: Codec, segmenter: Segmenter) -> Evaluator:
        return ParallelEvaluator(codec, segmenter, self._workers, self._segment_batch)

    def _begin(self, rows: Sequence[int], options: Sequence[Info]) -> list[Info]:
        """Start episodes in `rows`; return their reset infos."""
        drawn = [self._draw(self._rng(row), options[row]) for row in rows]
        references = self.evaluator.references([sample for sample, _ in drawn])
        for row, reference, (_, base_qp) in zip(rows, references, drawn, strict=True):
            self._references[row] = reference
            self._batch.begin(row, self._view(reference), base_qp)
        self._batch.observe(rows)
        return [{"sample": sample.name, "base_qp": base_qp} for sample, base_qp in drawn]

    def _finish(self, rows: Sequence[int]) -> list[Finished]:
        """Code and judge the episodes of `rows` and start the next ones."""
        jobs = [(self._reference(row), self._batch.qp_map(row)) for row in rows]
        judged = [
            self._conclude(row, found)
            for row, found in zip(rows, self.evaluator.score_all(jobs), strict=True)
        ]
        last = [self._batch.row(row) for row in rows]
        reset_infos = self._begin(rows, [{}] * self.num_envs)
        return [
            Finished(row, *verdict[:2], observation, verdict[2], info)
            for row, verdict, observation, info in zip(rows, judged, last, reset_infos, strict=True)
        ]

    def _conclude(self, row: int, found: EncodeResult | ToolError) -> tuple[float, bool, Info]:
        """Return reward, whether the episode is truncated, and the final info."""
        self.results[row] = None if isinstance(found, TOOL_ERRORS) else found
        try:
            if isinstance(found, TOOL_ERRORS):
                raise found
            base_qp = int(self._batch.base_qps[row])
            reward, info = self._judge(self._reference(row), base_qp, found)
        except TOOL_ERRORS as error:
            return 0.0, True, error_info(error)
        return reward, False, info

    def _observations(self) -> Observation:
        arrays = self._batch.arrays
        return {key: array.copy() if self.copy else array for key, array in arrays.items()}

    def _reference(self, row: int) -> Reference:
        reference = self._references[row]
        assert reference is not None
        return reference

    def _rng(self, row: int) -> np.random.Generator:
        rng = self._rngs[row]
        if rng is None:
            rng = self._rngs[row] = seeding.np_random()[0]
        return rng

    def _seeds(self, seed: int | Sequence[int | None] | None) -> Sequence[int | None]:
        if seed is None:
            return [None] * self.num_envs
        if isinstance(seed, int | np.integer):
            return [int(seed) + row for row in range(self.num_envs)]
        if len(seed) != self.num_envs:
            raise InvalidInputError(
                f"seed holds {len(seed)} values for {self.num_envs} sub-environments: pass one "
                f"integer, or a list of {self.num_envs}."
            )
        return seed

    def _masked(self, mask: Any) -> list[int]:
        if mask is None:
            return list(range(self.num_envs))
        array = np.asarray(mask)
        if array.dtype != np.bool_ or array.shape != (self.num_envs,) or not array.any():
            raise InvalidInputError(
                f"options['reset_mask'] must be a bool array ({self.num_envs},) with a True in "
                f"it, got {array.dtype} {array.shape}."
            )
        rows: list[int] = np.flatnonzero(array).tolist()
        return rows

    def _per_row(self, options: Mapping[str, Any]) -> list[Info]:
        """Give each sub-environment its options."""
        spread = [dict[str, Any]() for _ in range(self.num_envs)]
        for key, value in options.items():
            many = isinstance(value, list | tuple | np.ndarray)
            if many and len(value) != self.num_envs:
                raise InvalidInputError(
                    f"options[{key!r}] holds {len(value)} values for {self.num_envs} "
                    "sub-environments: pass one value, or one for each."
                )
            for row, own in enumerate(spread):
                own[key] = value[row] if many else value
        return spread

    def _checked_actions(self, actions: Any) -> npt.NDArray[np.integer[Any]]:
        array = np.asarray(actions)
        count = len(self.qp_offsets)
        fits = array.shape == (self.num_envs,) and np.issubdtype(array.dtype, np.integer)
        if not fits or array.min() < 0 or array.max() >= count:
            raise InvalidInputError(
                f"Actions {actions!r} are not in {self.action_space}: pass {self.num_envs} integer "
                f"indices into qp_offsets, 0..{count - 1}."
            )
        return array

    def _check_open(self) -> None:
        if self.closed:
            raise gym.error.ClosedEnvironmentError("This environment is closed: make a new one.")

    def _check_ready(self) -> None:
        self._check_open()
        if not self._ready:
            raise gym.error.ResetNeeded(
                "No episodes yet, or the last step raised an error: call reset() first."
            )

    def _add_info(self, vector_infos: Info, env_info: Info, env_num: int) -> Info:
        for key, value in env_info.items():
            kept = vector_infos.get(key)
            if isinstance(value, np.ndarray) and _unlike(kept, value):
                vector_infos[key] = _as_objects(vector_infos[key], vector_infos[f"_{key}"])
        added: Info = super()._add_info(vector_infos, env_info, env_num)
        return added


def _unlike(kept: Any, value: npt.NDArray[Any]) -> bool:
    """Whether the arrays kept so far have another shape than `value`."""
    stacked = isinstance(kept, np.ndarray) and kept.dtype != object
    return bool(stacked and kept.shape[1:] != value.shape)


def _as_objects(arrays: npt.NDArray[Any], present: Flags) -> npt.NDArray[Any]:
    objects = np.full(len(arrays), None, dtype=object)
    for row in np.flatnonzero(present):
        objects[row] = arrays[row]
    return objects
