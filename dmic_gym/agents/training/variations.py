"""Variations of a few annotated images, for tuning a policy on as little as one."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from dmic_gym.errors import InvalidInputError
from dmic_gym.tasks.data.sample import Sample
from dmic_gym.tasks.data.sequence import LazySamples
from dmic_gym.tasks.segmenters.augment import augment
from dmic_gym.tasks.segmenters.loader import expert_mask


class Variations(LazySamples):
    """The samples themselves, then seeded variations of them in turn.

    A variation is a square as long as the image's longer side: mirrored, rotated, scaled, sheared
    and with other gamma, contrast and noise, as `dmic_gym.tasks.segmenters.augment` draws them;
    image and mask alike. Sample i is the same at every access.

    Args:
        samples: annotated images, one at least.
        count: how many there are in all; at least as many as samples.
        seed: of the variations.

    Raises:
        InvalidInputError: no sample, one without mask, or `count` is too small.
    """

    def __init__(self, samples: Sequence[Sample], count: int = 6, seed: int = 0) -> None:
        if not samples or count < len(samples):
            raise InvalidInputError(
                f"{count} variations of {len(samples)} samples: pass one sample at least, and "
                f"count={max(len(samples), 1)} or more."
            )
        self._samples = tuple(samples)
        for sample in self._samples:
            expert_mask(sample)
        self._count = count
        self._seed = seed

    def __len__(self) -> int:
        return self._count

    def _content(self) -> str:
        return f"variations of {len(self._samples)} samples"

    def _read(self, index: int) -> Sample:
        turn, place = divmod(index, len(self._samples))
        sample = self._samples[place]
        if turn == 0:
            return sample
        rng = np.random.default_rng([self._seed, index])
        image, mask = augment(sample.image, expert_mask(sample), rng, max(sample.image.shape))
        pixels = np.rint(image * 255.0).astype(np.uint8)
        return Sample(pixels, mask > 0.5, f"{sample.name}~{turn}")
