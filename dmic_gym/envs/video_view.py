"""The parts of a frame's observations that no action changes."""

from __future__ import annotations

import cv2
import numpy as np

from dmic_gym.envs.image_view import SIDE, ImageView, padded, thumbnail
from dmic_gym.envs.results import Reference
from dmic_gym.types import Images, Samples


class FrameView(ImageView):
    """What is known of a frame and of the one coded before it.

    Attributes:
        previous: uint8 (2, 64, 64), thumbnails of the previous reconstruction and of the absolute
            difference of frame and previous reconstruction; 0 where there is none.

    Args:
        reference: the frame with the importance map that the encoder knows.
        previous: uint8 (H, W), the previous reconstruction; None for a group's first frame.
        ctu_size: side of a CTU in luma samples.
    """

    def __init__(self, reference: Reference, previous: Samples | None, ctu_size: int) -> None:
        super().__init__(reference, ctu_size)
        if previous is None:
            self.previous = np.zeros((2, SIDE, SIDE), np.uint8)
            self._before: Images | None = None
            return
        planes = np.stack([previous, cv2.absdiff(reference.sample.image, previous)])
        self.previous = np.stack([thumbnail(plane) for plane in planes])
        self._before = padded(planes, ctu_size)

    def previous_window(self, index: int) -> Images:
        """Return uint8 (2, 64, 64): previous reconstruction and difference around CTU `index`."""
        if self._before is None:
            return self.previous
        return self._before[self._place(index)]
