"""What the environments of one episode at a time share."""

from __future__ import annotations

from abc import ABC, abstractmethod

import gymnasium as gym

from dmic_gym.envs.base import CodingSetup
from dmic_gym.envs.evaluator import EncodeResult, Reference
from dmic_gym.envs.setup import raise_closed
from dmic_gym.envs.verdict import Verdict
from dmic_gym.types import RGB, QPMap


class SingleCoding(CodingSetup, ABC):
    """One episode at a time: what `CodingEnv` and `CodingMapEnv` share."""

    result: EncodeResult | None = None
    """The last encode of this episode, with bitstream and reconstruction."""

    _reference: Reference | None = None
    _last: tuple[Reference, EncodeResult] | None = None
    _closed = False

    @property
    def reference(self) -> Reference:
        """The image of this episode with its importance map."""
        if self._reference is None:
            raise gym.error.ResetNeeded("No episode yet: call reset() first.")
        return self._reference

    @property
    @abstractmethod
    def qp_map(self) -> QPMap:
        """Absolute QPs of this episode, int16 (rows, cols)."""

    def render(self) -> RGB | None:
        """Return uint8 (406, 1548, 3): reference, QP map, reconstruction, mask agreement.

        Reconstruction and agreement are those of the last episode until this one's encode.
        """
        self._check_open()
        return self._picture(self.reference, self.qp_map, self.result, self._last)

    def close(self) -> None:
        """End the environment; a codec that was passed to it stays open."""
        self._closed = True
        self._free()

    def _check_open(self) -> None:
        if self._closed:
            raise_closed()

    def _score(self, base_qp: int, qp_map: QPMap) -> Verdict:
        found = self.evaluator.score_all([(self.reference, qp_map)])[0]
        verdict = self._conclude(self.reference, base_qp, qp_map, found)
        self.result = verdict.result
        if self.result is not None:
            self._last = self.reference, self.result
        return verdict
