"""The value of one QP map for all frames of a group of pictures."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from dmic_gym.agents.search.objective import PosteriorMap, SearchObjective, Trial
from dmic_gym.codecs.base import map_shape
from dmic_gym.envs.complexity import complexity
from dmic_gym.envs.rewards import bit_price
from dmic_gym.envs.video_evaluator import GopReference, GopResult, VideoEvaluator
from dmic_gym.types import CTUTable, Image, Mask, QPMap

_QPS_CHEAPER = 4


def gop_price(base_qp: int) -> float:
    """Return the Dice that one bit per pixel has to buy in a group of pictures, at a base QP.

    It is `bit_price` of 4 QPs below, 1.0 at QP 39.5. The anchor's Dice on DAVIS' val split, whose
    predicted frames take fewer bits than images do, rises by 0.9 for a bit per pixel there (QP 37
    to 42), where `bit_price` itself is 3.2.
    """
    return bit_price(base_qp - _QPS_CHEAPER)


class GopObjective(SearchObjective[None]):
    """Values QP maps that all frames of a group share; of an encode the masks alone are kept.

    Dice is that of all scored frames taken as one picture.

    Args:
        evaluator: encoder and segmenter.
        reference: the group.
        posterior: float (T, H, W), the probability of the structure at each pixel.
        base_qp: of which the maps are coded; it sets the price of bits, see `gop_price`.
    """

    def __init__(
        self,
        evaluator: VideoEvaluator,
        reference: GopReference,
        posterior: PosteriorMap | Mask,
        base_qp: int,
    ) -> None:
        price = gop_price(base_qp) / reference.pixels
        super().__init__(evaluator.codec, posterior[reference.counted], price)
        self.evaluator = evaluator
        self.reference = reference
        self.base_qp = base_qp

    @property
    def shape(self) -> tuple[int, int]:
        """Shape of the QP map, (rows, cols)."""
        return map_shape(self.reference.gop.clip.shape, self.codec.ctu_size)

    def code(self, qp_map: QPMap) -> GopResult:
        """Code all frames with a map; `encodes` does not count it."""
        maps = [qp_map] * len(self.reference.gop)
        return self.evaluator.score(self.reference, self.base_qp, maps)

    def _code(self, qp_map: QPMap) -> Trial[None]:
        return self._accept(self.code(qp_map))

    def _code_uniforms(self, qps: Sequence[int]) -> None:
        for qp in qps:
            result, saved = self.evaluator.uniform(self.reference, qp)
            self.seconds_saved += saved
            self._accept(result)

    def _accept(self, result: GopResult) -> Trial[None]:
        masks = np.stack([frame.mask for frame in result.frames])[self.reference.counted]
        return self._value(result.frames[0].qp_map, masks, result.figures, None)

    def _find_complexity(self, qp: int) -> CTUTable:
        frames = self.reference.gop.frames
        moved = (_difference(*pair) for pair in zip(frames[1:], frames[:-1], strict=True))
        tables = [complexity(image, self.codec.ctu_size, qp) for image in (frames[0], *moved)]
        return np.asarray(np.sum(tables, axis=0))


def _difference(frame: Image, before: Image) -> Image:
    """Return what is new in a frame, around 128: what a predicted one codes, were nothing moved."""
    change = frame.astype(np.int16) - before
    return np.asarray(np.clip(128 + change, 0, 255), np.uint8)
