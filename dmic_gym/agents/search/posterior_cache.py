"""The probability of the structure in an image, where no expert has drawn the mask."""

from __future__ import annotations

import numpy as np

from dmic_gym.agents.search.objective import PosteriorMap
from dmic_gym.envs.cache import ByteBoundedCache
from dmic_gym.envs.evaluator import Reference
from dmic_gym.tasks.segmenters.protocol import Segmenter, segmenter_for


class PosteriorCache:
    """The calibrated posterior of each image, kept for the images used last.

    The shipped posterior is for the shipped network, and its calibration for the folds it was
    fitted on. With any other segmenter the posterior is that segmenter's own probability on the
    reference.

    Args:
        segmenter: the one that judges the decoded images.
        cache_bytes: bound on the kept posteriors.
    """

    def __init__(self, segmenter: Segmenter, cache_bytes: int = 64 << 20) -> None:
        self._segmenter = segmenter
        self._kept = ByteBoundedCache[PosteriorMap](cache_bytes, _nbytes)
        self._posteriors: dict[int, Segmenter | None] = {}

    def __call__(self, reference: Reference) -> PosteriorMap:
        """Return float (H, W), the probability of the structure at each pixel."""
        return self._kept.get(reference.key, lambda: self._made(reference))

    def _made(self, reference: Reference) -> PosteriorMap:
        posterior = self._posterior(segmenter_for(self._segmenter, reference.sample))
        if posterior is None:
            return reference.importance
        return np.asarray(posterior(reference.sample.image[None])[0])

    def _posterior(self, segmenter: Segmenter) -> Segmenter | None:
        if id(segmenter) not in self._posteriors:
            from dmic_gym.tasks.segmenters.posterior import posterior_of  # torch comes with it

            self._posteriors[id(segmenter)] = posterior_of(segmenter)
        return self._posteriors[id(segmenter)]


def _nbytes(posterior: PosteriorMap) -> int:
    return int(posterior.nbytes)
