"""A picture of what coding did: reference, QP map, reconstruction, masks and bytes."""

from __future__ import annotations

from collections.abc import Mapping

import cv2
import numpy as np
import numpy.typing as npt

from dmic_gym.codecs.base import Encoded
from dmic_gym.codecs.hevc.nal import slice_bits
from dmic_gym.deploy.coder import Coder, Encoding
from dmic_gym.deploy.pictures import Picture
from dmic_gym.envs.rendering import draw
from dmic_gym.envs.results import encode_result
from dmic_gym.tasks.data.sample import Sample
from dmic_gym.types import Mask

_TITLE = 24
_WHITE = 255


def draw_encodings(
    coder: Coder, picture: Picture, encodings: Mapping[str, Encoding], mask: Mask | None = None
) -> npt.NDArray[np.uint8]:
    """Draw a row for each encoding of a picture's first frame, under its title.

    A row holds the reference, the QP map, the reconstruction with the bytes of the file, and the
    masks: green where the segmenter sees the structure in the reconstruction and it is there, red
    where only the reconstruction has it, blue where it is missed. It is there where the expert
    mask says so, or, without one, the segmenter's mask on the reference.

    Args:
        coder: its segmenter is asked.
        picture: what was coded.
        encodings: by title.
        mask: the expert's, bool (H, W).

    Returns:
        uint8 (height, width, 3), RGB.
    """
    sample = Sample(picture.eight_bit[0], mask)
    rows = [
        np.concatenate([_title(title, row.shape[1]), row])
        for title, row in (
            (title, _row(coder, sample, encoding)) for title, encoding in encodings.items()
        )
    ]
    return np.concatenate(rows)


def _row(coder: Coder, sample: Sample, encoding: Encoding) -> npt.NDArray[np.uint8]:
    decoded, qp_map = encoding.reconstruction.eight_bit[0], encoding.qp_maps[0]
    reference = coder.evaluator.reference(sample)
    bits = slice_bits(b"".join(encoding.units))
    encoded = Encoded(encoding.data, decoded, 8 * len(encoding.data), bits)
    probability = coder.evaluator.segment([decoded])[0]
    return draw(
        reference, qp_map, coder.ctu_size, encode_result(reference, encoded, probability, qp_map)
    )


def _title(text: str, width: int) -> npt.NDArray[np.uint8]:
    bar = np.full((_TITLE, width, 3), _WHITE, np.uint8)
    cv2.putText(bar, text, (4, 17), cv2.FONT_HERSHEY_SIMPLEX, 0.55, (0, 0, 0), 1, cv2.LINE_AA)
    return bar
