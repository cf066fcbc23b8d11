"""The array types of the package, each defined once."""

from __future__ import annotations

from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

Image: TypeAlias = npt.NDArray[np.uint8]
"""uint8 (H, W), grey, 0..255."""

RGB: TypeAlias = npt.NDArray[np.uint8]
"""uint8 (H, W, 3), red, green and blue."""

Images: TypeAlias = npt.NDArray[np.uint8]
"""uint8 (N, H, W), grey, 0..255."""

Samples: TypeAlias = npt.NDArray[np.unsignedinteger[Any]]
"""uint8 or, beyond 8 bits, uint16 (H, W)."""

QPMap: TypeAlias = npt.NDArray[np.int16]
"""int16 (rows, cols), the absolute QP of each CTU."""

AnyQPMap: TypeAlias = npt.NDArray[np.integer[Any]]
"""A `QPMap` of any integer type, as arguments take it."""

Mask: TypeAlias = npt.NDArray[np.bool_]
"""bool (H, W), True in the structure."""

Masks: TypeAlias = npt.NDArray[np.bool_]
"""bool (N, H, W), True in the structure."""

Probability: TypeAlias = npt.NDArray[np.float32]
"""float32 (H, W), the probability of the structure at each pixel, 0..1."""

Probabilities: TypeAlias = npt.NDArray[np.float32]
"""float32 (N, H, W), 0..1."""

Plane: TypeAlias = npt.NDArray[np.float32]
"""float32 (H, W), of any range."""

CTUTable: TypeAlias = npt.NDArray[np.float64]
"""float64 (rows, cols), a number for each CTU."""

CTURewards: TypeAlias = npt.NDArray[np.float32]
"""float32 (rows, cols), the part of each CTU in an episode's reward."""

Floats: TypeAlias = npt.NDArray[np.float64]
