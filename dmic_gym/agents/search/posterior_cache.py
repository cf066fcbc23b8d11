"""What the encoder believes of an image, where no expert has drawn the mask."""

from __future__ import annotations

from functools import cached_property

import numpy as np

from dmic_gym.agents.search.objective import PosteriorMap
from dmic_gym.envs.cache import ByteBoundedCache
from dmic_gym.envs.evaluator import Reference
from dmic_gym.tasks.segmenters.protocol import Segmenter


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

    def __call__(self, reference: Reference) -> PosteriorMap:
        """Return float (H, W), the chance of the structure at each pixel."""
        return self._kept.get(reference.key, lambda: self._believe(reference))

    def _believe(self, reference: Reference) -> PosteriorMap:
        if self._posterior is None:
            return reference.importance
        return np.asarray(self._posterior(reference.sample.image[None])[0])

    @cached_property
    def _posterior(self) -> Segmenter | None:
        if getattr(self._segmenter, "card", None) is None:
            return None
        from dmic_gym.tasks.segmenters.posterior import posterior_of

        return posterior_of(self._segmenter)


def _nbytes(posterior: PosteriorMap) -> int:
    return int(posterior.nbytes)
