"""Proof of QPs by an independent decoder.

A coding unit without residual carries no QP of its own but the predicted one (Rec. ITU-T H.265,
8.6.1), so the images are binary noise and the border CTUs show at least 8 rows and columns: then
every CTU codes residual at every QP.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from dmic_gym.codecs import Codec, FFmpegCodec, X265Codec
from dmic_gym.codecs.hevc import codec as hevc_codec
from dmic_gym.codecs.hevc import regions
from dmic_gym.codecs.hevc.regions import Regions
from tests.codecs import libde265
from tests.support import binary_noise, random_map

pytestmark = pytest.mark.skipif(
    not libde265.available(), reason=str(libde265.skip_reason() or "libde265")
)
SHAPES = [(256, 256), (200, 217), (137, 139), (64, 300), (75, 64)]


def coded_qps(codec: Codec, shape: tuple[int, int], qps: npt.NDArray[np.int64]) -> list[list[Any]]:
    """Code noise of that shape and return the QPs that libde265 reads in each CTU."""
    encoded = codec.encode([binary_noise(shape, int(qps.sum()))], [qps])[0]
    decoded = libde265.decode(encoded.bitstream, codec.ctu_size)
    np.testing.assert_array_equal(decoded.image, encoded.reconstruction)
    rows, cols = qps.shape
    return [row[:cols] for row in libde265.ctu_qps(decoded)[:rows]]


def mismatches(codec: Codec, shape: tuple[int, int], qps: npt.NDArray[np.int64]) -> int:
    """Count CTUs in which any coding unit has another QP than the map's."""
    read = coded_qps(codec, shape, qps)
    asked = [[{int(qp)} for qp in row] for row in qps]
    return sum(
        a != r
        for asked_row, row in zip(asked, read, strict=True)
        for a, r in zip(asked_row, row, strict=True)
    )


@pytest.mark.parametrize("ctu_size", [64, 32, 16])
@pytest.mark.parametrize("shape", SHAPES)
def test_every_ctu_has_the_qp_asked_for(ctu_size: int, shape: tuple[int, int]) -> None:
    with X265Codec(ctu_size, "ultrafast") as codec:
        for seed in range(3):
            assert mismatches(codec, shape, random_map(shape, ctu_size, seed)) == 0


@pytest.mark.parametrize("ctu_size", [64, 32, 16])
def test_all_52_qps_and_the_widest_steps(ctu_size: int) -> None:
    shape = (ctu_size * 4, ctu_size * 13)
    ramp = np.arange(52).reshape(4, 13)
    board = np.where(np.indices((4, 13)).sum(axis=0) % 2, 48, 0)
    with X265Codec(ctu_size, "ultrafast") as codec:
        assert mismatches(codec, shape, ramp) == 0
        assert mismatches(codec, shape, ramp[::-1, ::-1]) == 0
        assert mismatches(codec, shape, board) == 0


@pytest.mark.parametrize("preset", ["superfast", "medium", "slow"])
def test_other_presets(preset: str) -> None:
    shape = (150, 170)
    for ctu_size in (64, 32, 16):
        with X265Codec(ctu_size, preset) as codec:
            assert mismatches(codec, shape, random_map(shape, ctu_size)) == 0


@pytest.mark.parametrize("shape", [(1, 1), (1, 300), (300, 1), (24, 41), (63, 75)])
def test_padded_pictures(shape: tuple[int, int]) -> None:
    for ctu_size in (64, 32, 16):
        qps = random_map(shape, ctu_size, 5)
        image = np.full(shape, 255, np.uint8) if 1 in shape else binary_noise(shape)
        with X265Codec(ctu_size, "ultrafast") as codec:
            encoded = codec.encode([image], [qps])[0]
        decoded = libde265.decode(encoded.bitstream, ctu_size)
        np.testing.assert_array_equal(decoded.image, encoded.reconstruction)
        assert decoded.image.shape == shape
        if 1 not in shape:
            read = [row[: qps.shape[1]] for row in libde265.ctu_qps(decoded)[: qps.shape[0]]]
            assert read == [[{int(qp)} for qp in row] for row in qps]


def test_ffmpeg_codec_has_the_same_qps() -> None:
    for ctu_size in (64, 16):
        shape = (150, 170)
        codec = FFmpegCodec(ctu_size, "ultrafast")
        assert mismatches(codec, shape, random_map(shape, ctu_size)) == 0


def _shifted_by_a_ctu(*arguments: Any) -> Regions:
    qps, *rest = arguments
    return regions.regions_of_interest(np.roll(qps, 1, axis=1), *rest)


def _transposed(*arguments: Any) -> Regions:
    qps, *rest = arguments
    return regions.regions_of_interest(np.ascontiguousarray(qps.T), *rest)


def _one_too_high(*arguments: Any) -> Regions:
    qps, base_qp, *rest = arguments
    return regions.regions_of_interest(qps, base_qp - 1, *rest)


@pytest.mark.parametrize("sabotage", [_shifted_by_a_ctu, _transposed, _one_too_high])
def test_a_wrong_map_is_noticed(
    monkeypatch: pytest.MonkeyPatch, sabotage: Callable[..., Regions]
) -> None:
    shape, qps = (192, 192), np.array([[10, 20, 30], [40, 15, 25], [35, 45, 5]])
    with X265Codec(64, "ultrafast") as codec:
        assert mismatches(codec, shape, qps) == 0
        monkeypatch.setattr(hevc_codec, "regions_of_interest", sabotage)
        assert mismatches(codec, shape, qps) > 0
