"""A second segmenter that scores every row and takes part in no decision."""

from __future__ import annotations

from dmic_gym.envs.evaluator import EncodeResult, sample_key
from dmic_gym.tasks.data.sample import Sample
from dmic_gym.tasks.metrics import binarize, dice
from dmic_gym.tasks.segmenters.protocol import Segmenter, check_probabilities, segmenter_for
from dmic_gym.types import Image, Mask


class HeldOutSegmenter:
    """Scores decoded images with a network that the agents never see.

    A gain that one network sees and another does not is luck with that network, not information
    kept in the image.

    Args:
        segmenter: the second network.
    """

    def __init__(self, segmenter: Segmenter) -> None:
        self.segmenter = segmenter
        self._last: tuple[bytes, Mask] | None = None

    def dice(self, sample: Sample, result: EncodeResult) -> tuple[float | None, float]:
        """Return Dice against the expert mask (None without one) and consistency Dice."""
        mask = self._mask(sample, result.encoded.reconstruction)
        expert = None if sample.mask is None else dice(mask, sample.mask)
        return expert, dice(mask, self._reference_mask(sample))

    def _reference_mask(self, sample: Sample) -> Mask:
        key = sample_key(sample)
        if self._last is None or self._last[0] != key:
            self._last = key, self._mask(sample, sample.image)
        return self._last[1]

    def _mask(self, sample: Sample, image: Image) -> Mask:
        batch, segmenter = image[None], segmenter_for(self.segmenter, sample)
        return binarize(check_probabilities(segmenter(batch), batch)[0])
