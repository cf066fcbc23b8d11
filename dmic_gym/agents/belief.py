"""What the encoder believes of an image, where no expert has drawn the mask."""

from __future__ import annotations

from functools import cached_property

import numpy as np

from dmic_gym.agents.objective import Belief
from dmic_gym.diagnosis.segmenter import Segmenter
from dmic_gym.envs.cache import ByteBoundedCache
from dmic_gym.envs.task import Original


class Beliefs:
    """The calibrated posterior of each image, kept for the images used last.

    The shipped posterior is for the shipped network, and its calibration for the folds it was
    fitted on. With any other segmenter the belief is that segmenter's own probability on the
    original.

    Args:
        segmenter: the one that judges the decoded images.
        cache_bytes: bound on the kept posteriors.
    """

    def __init__(self, segmenter: Segmenter, cache_bytes: int = 64 << 20) -> None:
        self._segmenter = segmenter
        self._kept = ByteBoundedCache[Belief](cache_bytes, _nbytes)

    def __call__(self, original: Original) -> Belief:
        """Return float (H, W), the chance of the structure at each pixel."""
        return self._kept.get(original.key, lambda: self._believe(original))

    def _believe(self, original: Original) -> Belief:
        if self._posterior is None:
            return original.importance
        return np.asarray(self._posterior(original.sample.image[None])[0])

    @cached_property
    def _posterior(self) -> Segmenter | None:
        if getattr(self._segmenter, "card", None) is None:
            return None
        from dmic_gym.diagnosis.posterior import posterior_of

        return posterior_of(self._segmenter)


def _nbytes(belief: Belief) -> int:
    return int(belief.nbytes)
