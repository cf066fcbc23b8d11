"""Many `CodingEnv` episodes in lockstep, encoded by a pool of threads."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Unpack

import gymnasium as gym
import numpy as np
import numpy.typing as npt
from gymnasium.utils import seeding
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space

from dmic_gym.envs.base import CodingSetup
from dmic_gym.envs.evaluator import EncodeResult, Reference
from dmic_gym.envs.image_view import view_of
from dmic_gym.envs.observations import (
    Observation,
    ObservationBuilder,
    empty_observations,
    observation_space,
)
from dmic_gym.envs.parallel import default_workers
from dmic_gym.envs.settings import (
    CodingArguments,
    CodingSettings,
    shows_settings,
)
from dmic_gym.envs.setup import raise_closed
from dmic_gym.envs.vector_inputs import (
    actions_of,
    checked_groups,
    options_of,
    rows_of,
    seeds_of,
    separate_unlike,
)
from dmic_gym.envs.verdict import Info, Verdict
from dmic_gym.errors import checked_integer, unknown_name
from dmic_gym.tasks.data.pairs import DataSpec
from dmic_gym.tasks.data.sample import Sample
from dmic_gym.types import RGB, Floats

Flags = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Finished:
    """An episode that ended in a step.

    Attributes:
        observation: the last one.
        verdict: what it came to.
    """

    observation: Observation
    verdict: Verdict


class CodingVectorEnv(CodingSetup, VectorEnv[Observation, Any, npt.NDArray[Any]]):
    """Many `CodingEnv` episodes in lockstep: ``gym.make_vec("CodingEnv-v0", num_envs=64)``.

    Same observations, actions, QP maps, bitstreams and figures as `CodingEnv` for the same seeds
    and actions. The episodes that end in a step are encoded in a thread pool and segmented in the
    batches that suit the segmenter best. Images may differ in size; their episodes then end at
    different steps. References with their importance maps and anchor encodes are shared by all
    sub-environments.

    Episodes follow one another as ``metadata["autoreset_mode"]`` says:

    - SAME_STEP (default): the step that ends an episode returns the next one's first observation;
      the last observation and info of the old one are in ``infos["final_obs"]`` and
      ``infos["final_info"]``.
    - NEXT_STEP: the step after it resets and ignores the action. Gymnasium's wrappers of vector
      observations need this mode or the next.
    - DISABLED: ``reset(options={"reset_mask": ended})`` starts the next one.

    Maps of different shapes make ``infos["qp_map"]`` an array of objects; Gymnasium's own vector
    environments (``vectorization_mode="sync"``) stop at them.

    Sub-environment i is seeded with ``seed + i``, or with item i of a list. ``reset(options=)``
    takes what `CodingEnv.reset` takes, for all sub-environments, or a list of `num_envs` values
    for one each (``{"sample": [0, 1, 2], "base_qp": 32}``), and Gymnasium's ``reset_mask``.

    A failure of codec or segmenter truncates the one episode that it hits. `max_failures` counts
    episodes in the order of their rows.

    Attributes:
        results: of the last episode that ended in each sub-environment, with bitstream and
            reconstruction; None before, and after a failure.

    Args:
        num_envs: number of episodes in step.
        autoreset_mode: `gymnasium.vector.AutoresetMode` or its name, see above.
        copy: return copies of the observation buffers; without, the next call overwrites what the
            last one returned.
        maps_per_image: neighbouring sub-environments that get one image and base QP, drawn by the
            first of them, so that their QP maps can be compared; `num_envs` must be a multiple.
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

    @shows_settings
    def __init__(
        self,
        num_envs: int = 1,
        dataset: DataSpec | None = None,
        *,
        autoreset_mode: AutoresetMode | str = AutoresetMode.SAME_STEP,
        copy: bool = True,
        maps_per_image: int = 1,
        workers: int | None = None,
        segment_batch: int | None = None,
        render_mode: str | None = None,
        **arguments: Unpack[CodingArguments],
    ) -> None:
        self.num_envs = checked_integer("num_envs", num_envs)
        self.maps_per_image = checked_groups(maps_per_image, self.num_envs)
        self.autoreset_mode = _checked_mode(autoreset_mode)
        self.metadata = {**self.metadata, "autoreset_mode": self.autoreset_mode}
        super().__init__(
            CodingSettings(dataset, **arguments),
            workers=default_workers() if workers is None else checked_integer("workers", workers),
            batch=None
            if segment_batch is None
            else checked_integer("segment_batch", segment_batch),
        )
        self.copy = copy
        self.render_mode = render_mode
        self.single_observation_space = observation_space()
        self.single_action_space = gym.spaces.Discrete(len(self.qp_offsets))
        self.observation_space = batch_space(self.single_observation_space, self.num_envs)
        self.action_space = batch_space(self.single_action_space, self.num_envs)
        self.results: list[EncodeResult | None] = [None] * self.num_envs
        self._last: list[tuple[Reference, EncodeResult] | None] = [None] * self.num_envs
        self._rngs: list[np.random.Generator | None] = [None] * self.num_envs
        self._references: list[Reference | None] = [None] * self.num_envs
        self._arrays = empty_observations(self.num_envs)
        self._builders = [ObservationBuilder(self._arrays, row) for row in range(self.num_envs)]
        self._ended = np.zeros(self.num_envs, np.bool_)
        self._ready = False

    @property
    def references(self) -> list[Reference]:
        """The image of each running episode with its importance map."""
        self._check_ready()
        return [self._reference(row) for row in range(self.num_envs)]

    @property
    def episode_base_qps(self) -> npt.NDArray[np.int64]:
        """The base QP of each running episode, int64 (num_envs,)."""
        return np.array([builder.base_qp for builder in self._builders])

    def action_masks(self) -> npt.NDArray[np.bool_]:
        """Return bool (num_envs, n): False for offsets that clip to the QP of one nearer to 0."""
        self._check_ready()
        return self._masks_of(self.episode_base_qps)

    def reset(
        self,
        *,
        seed: int | Sequence[int | None] | None = None,
        options: dict[str, Any] | None = None,
    ) -> tuple[Observation, Info]:
        """Start episodes in all sub-environments, or in those of ``options["reset_mask"]``.

        Raises:
            InvalidInputError: `seed` or `options` do not fit; see the class.
            ClosedEnvironmentError: the environment is closed.
        """
        self._check_open()
        seeds = seeds_of(seed, self.num_envs)
        given = dict(options or {})
        rows = rows_of(given.pop("reset_mask", None), self.num_envs)
        self._ready = self._ready and len(rows) < self.num_envs
        for row in rows:
            if seeds[row] is not None:
                self._rngs[row] = seeding.np_random(seeds[row])[0]
            self.results[row] = None
        infos: Info = {}
        for row, info in self._begin(rows, options_of(given, self.num_envs)).items():
            infos = self._add_info(infos, info, row)
        self._ready = self._ready or all(self._references)
        return self._observations(), infos

    def step(self, actions: Any) -> tuple[Observation, Floats, Flags, Flags, Info]:
        """Set the QP of each current CTU; see `CodingEnv.step`, and the class for autoreset.

        Args:
            actions: integers (num_envs,).

        Raises:
            InvalidInputError: the actions are not in the action space.
            ResetNeeded: there was no reset, or the last step raised an error.
            ClosedEnvironmentError: the environment is closed.
            CodecError, SegmenterError: `max_failures` episodes in a row have failed.
        """
        observations, finished, begun = self.advance(actions)
        rewards = np.zeros(self.num_envs, np.float64)
        terminations, truncations = np.zeros((2, self.num_envs), np.bool_)
        infos: Info = {}
        for row in sorted(begun.keys() | finished.keys()):
            if end := finished.get(row):
                rewards[row] = end.verdict.reward
                terminations[row] = not end.verdict.truncated
                truncations[row] = end.verdict.truncated
                infos = self._add_info(infos, self._shown(end), row)
            infos = self._add_info(infos, begun.get(row, {}), row)
        return observations, rewards, terminations, truncations, infos

    def advance(self, actions: Any) -> tuple[Observation, dict[int, Finished], dict[int, Info]]:
        """Do what `step` does.

        Returns:
            The observations; by row, the episodes that ended and the reset infos of those that
            began.
        """
        self._check_ready()
        chosen = actions_of(actions, self.num_envs, len(self.qp_offsets))
        waiting = np.flatnonzero(self._ended).tolist()
        if waiting and self.autoreset_mode is AutoresetMode.DISABLED:
            raise gym.error.ResetNeeded(
                f"The episodes of rows {waiting} are over: call "
                'reset(options={"reset_mask": terminated | truncated}) first.'
            )
        self._ready = False  # until all is well: an error leaves episodes half finished
        over = self._decide(chosen)
        finished = self._finish(over) if over else {}
        next_rows = over if self.autoreset_mode is AutoresetMode.SAME_STEP else waiting
        self._ended[over] = True
        begun = self._begin(next_rows, [{}] * self.num_envs) if next_rows else {}
        self._ready = True
        return self._observations(), finished, begun

    def render(self) -> tuple[RGB, ...] | None:
        """Return a picture of each running episode, as `CodingEnv.render` draws it."""
        self._check_ready()
        pictures = [self._drawn(row) for row in range(self.num_envs)]
        return tuple(picture for picture in pictures if picture is not None) or None

    def close_extras(self, **_: Any) -> None:
        """End the thread pool; a codec that was passed to the environment stays open."""
        self._ready = False
        self._free()

    def _drawn(self, row: int) -> RGB | None:
        reference, qp_map = self._reference(row), self._builders[row].qp_map()
        result = self.results[row] if self._ended[row] else None
        return self._picture(reference, qp_map, result, self._last[row])

    def _begin(self, rows: Sequence[int], options: Sequence[Info]) -> dict[int, Info]:
        """Start episodes in `rows`; return their reset infos."""
        drawn: dict[int, tuple[Sample, int]] = {}
        for row in rows:
            first = row - row % self.maps_per_image
            drawn[row] = drawn.get(first) or self._draw(self._rng(row), options[row])
        references = self.evaluator.references([sample for sample, _ in drawn.values()])
        for (row, (_, base_qp)), reference in zip(drawn.items(), references, strict=True):
            self._references[row] = reference
            self._builders[row].begin(view_of(reference, self.ctu_size), base_qp)
            self._ended[row] = False
        return {
            row: {"sample": sample.name, "base_qp": base_qp}
            for row, (sample, base_qp) in drawn.items()
        }

    def _decide(self, actions: npt.NDArray[np.integer[Any]]) -> list[int]:
        """Set the QPs of the running episodes; return the rows that are over now."""
        table = self._qps_of(self.episode_base_qps)
        qps = table[np.arange(self.num_envs), actions].tolist()
        running = np.flatnonzero(~self._ended).tolist()
        for row in running:
            self._builders[row].decide(qps[row])
        return [row for row in running if self._builders[row].over]

    def _finish(self, rows: Sequence[int]) -> dict[int, Finished]:
        """Code and judge the episodes of `rows`."""
        jobs = [(self._reference(row), self._builders[row].qp_map()) for row in rows]
        ended = {}
        for row, job, found in zip(rows, jobs, self.evaluator.score_all(jobs), strict=True):
            builder = self._builders[row]
            verdict = self._conclude(job[0], builder.base_qp, job[1], found)
            self.results[row] = verdict.result
            if verdict.result is not None:
                self._last[row] = job[0], verdict.result
            ended[row] = Finished(builder.observation(), verdict)
        return ended

    def _shown(self, end: Finished) -> Info:
        """Return what ``infos`` holds of an episode that ended."""
        if self.autoreset_mode is AutoresetMode.SAME_STEP:
            return {"final_obs": end.observation, "final_info": end.verdict.info}
        return end.verdict.info

    def _observations(self) -> Observation:
        kept = self._arrays.items()
        return {key: array.copy() if self.copy else array for key, array in kept}

    def _reference(self, row: int) -> Reference:
        reference = self._references[row]
        assert reference is not None
        return reference

    def _rng(self, row: int) -> np.random.Generator:
        rng = self._rngs[row]
        if rng is None:
            rng = self._rngs[row] = seeding.np_random()[0]
        return rng

    def _check_open(self) -> None:
        if self.closed:
            raise_closed()

    def _check_ready(self) -> None:
        self._check_open()
        if not self._ready:
            raise gym.error.ResetNeeded(
                "No episodes yet, or the last step raised an error: call reset() first."
            )

    def _add_info(self, vector_infos: Info, env_info: Info, env_num: int) -> Info:
        separate_unlike(vector_infos, env_info)
        added: Info = super()._add_info(vector_infos, env_info, env_num)
        return added


def _checked_mode(mode: AutoresetMode | str) -> AutoresetMode:
    known = {member.value: member for member in AutoresetMode}
    known |= {member.name: member for member in AutoresetMode}
    found = mode if isinstance(mode, AutoresetMode) else known.get(mode)
    if found is None:
        raise unknown_name("autoreset_mode", mode, AutoresetMode.__members__)
    return found
