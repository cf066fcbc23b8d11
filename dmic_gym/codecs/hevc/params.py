"""How x265 is configured: the anchor's parameter strings and the per-CTU offsets.

Found by measurement. x265 changes a block's QP from outside only through adaptive quantisation,
so AQ is on with a strength that never moves a QP by itself; constant-QP mode, `aq-mode=0` and
`aq-strength=0` drop every offset in silence. Psycho-visual decisions are off and RDOQ is on,
which brings x265 within a few percent of the HEVC reference software in PSNR: an anchor with
them would be weaker and flatter every agent.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from dmic_gym.errors import InvalidInputError, unknown_name
from dmic_gym.types import QPMap

Overrides = Mapping[str, str | int | float]

PRESETS = (
    *("ultrafast", "superfast", "veryfast", "faster", "fast"),
    *("medium", "slow", "slower", "veryslow", "placebo"),
)

_INTRA = (
    "qcomp=1:ipratio=1:pbratio=1:aq-mode=1:aq-strength=1e-6:cutree=0:keyint=1:log-level=none:"
    "frame-threads=1:pools=none:wpp=0:rc-lookahead=0:bframes=0:scenecut=0:info=0:"
    "psy-rd=0:psy-rdoq=0:rdoq-level=2"
)

LOW_DELAY_P: Overrides = {
    **{"keyint": -1, "min-keyint": 1, "ref": 4, "weightp": 0},
    **{"early-skip": 0, "rskip": 0},
}
"""An I frame and then P frames with four references, each returned at once.

Without the last two, x265 skips blocks early and loses about a tenth of the rate against HM: an
anchor that flatters every agent again.
"""

MAX_SAMPLES_OF_CTU_16 = 2_228_224
"""Pictures above it need level 5, which has no CTUs of 16 (Rec. ITU-T H.265, A.4.1, table A.8)."""


def check_preset(preset: str) -> str:
    """Return `preset` if x265 has it, else raise InvalidInputError."""
    if preset not in PRESETS:
        raise unknown_name("x265 preset", preset, PRESETS)
    return preset


def x265_params(qp: int, ctu_size: int, overrides: Overrides | None = None) -> str:
    """Return the ``x265-params`` string for a slice QP of `qp`: all-intra, unless overridden."""
    anchor = dict(pair.split("=") for pair in _INTRA.split(":"))
    settings = {"crf": qp, **anchor, "ctu": ctu_size, "qg-size": ctu_size, **(overrides or {})}
    for key, value in settings.items():
        if ":" in f"{key}{value}" or "=" in f"{key}{value}":
            raise InvalidInputError(f"x265 parameter {key!r}={value!r} must hold no ':' or '='.")
    return ":".join(f"{key}={value}" for key, value in settings.items())


def level_params(picture: tuple[int, int], ctu_size: int) -> Overrides:
    """Return what x265 needs to code a picture that no level allows: it states none then.

    x265 counts whole CTUs.
    """
    height, width = (side + -side % ctu_size for side in picture)
    too_large = ctu_size == 16 and height * width > MAX_SAMPLES_OF_CTU_16
    return {"allow-non-conformance": 1} if too_large else {}


def slice_qp(qp_map: QPMap) -> int:
    """Return the slice QP for a map: its lower median, so that a uniform map is the anchor."""
    return int(np.sort(qp_map, axis=None)[(qp_map.size - 1) // 2])
