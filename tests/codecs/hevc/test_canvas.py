from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import av
import numpy as np
import numpy.typing as npt
import pytest

from dmic_gym.codecs.hevc import canvas
from dmic_gym.codecs.hevc.canvas import Canvas, CanvasKey, with_regions
from dmic_gym.codecs.hevc.params import slice_qp
from dmic_gym.codecs.hevc.picture import GREY
from dmic_gym.codecs.hevc.pool import IdlePool
from dmic_gym.codecs.hevc.regions import REGION, Regions, regions_of_interest
from dmic_gym.errors import EncodeError
from tests.support import random_map, texture


def regions(shape: tuple[int, int], ctu_size: int, seed: int) -> Regions:
    qps = random_map(shape, ctu_size, seed).astype(np.int16)
    return regions_of_interest(qps, slice_qp(qps), shape, ctu_size)


def seen(frame: av.VideoFrame) -> npt.NDArray[np.void]:
    data: Any = frame.side_data
    return np.frombuffer(bytes(data["REGIONS_OF_INTEREST"]), REGION)


def test_drawing_equals_building() -> None:
    """A canvas used again shows FFmpeg what a graph built for the picture would."""
    shape = (200, 310)
    drawn = Canvas(CanvasKey(shape, 128))
    for seed, ctu_size in enumerate((64, 32, 64)):
        image, wanted = texture(shape, seed), regions(shape, ctu_size, seed)
        frame = drawn.draw(image, wanted, seed)
        built = with_regions(av.VideoFrame.from_ndarray(image, format="gray"), wanted)
        assert np.array_equal(frame.to_ndarray(), built.to_ndarray())
        found = seen(frame)
        assert np.array_equal(found[: len(wanted)], seen(built))
        assert (found[len(wanted) :] == found[len(wanted) - 1]).all()
        assert frame.pts == seed


def test_another_layout_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    names = ("size", "left", "right", "top", "bottom", "n", "d")
    monkeypatch.setattr(canvas, "REGION", np.dtype([(name, np.int32) for name in names]))
    with pytest.raises(EncodeError, match="layout"):
        Canvas(CanvasKey((64, 128), 32))


def test_the_pool_lends_what_fits() -> None:
    small, large = (CanvasKey.holding(count, (64, 64), GREY) for count in (3, 33))
    assert (small.room, large.room) == (32, 64)
    assert CanvasKey.holding(64, (64, 64), GREY) == large
    assert CanvasKey.holding(32, (64, 64), GREY) == small
    pool = IdlePool(Canvas, max_idle=2)
    with pool.lend(small) as first, pool.lend(small) as second:
        assert second is not first
    with pool.lend(large) as other:
        assert other.key == large
    with pool.lend(small) as again:
        assert again is first
    with pool.lend(CanvasKey((64, 128), 32)) as wide:
        assert wide.key.shape == (64, 128)
    with pool.lend(large) as fresh:
        assert fresh is not other  # two may be idle, and two were used later


def test_a_failed_canvas_is_not_lent_again() -> None:
    pool = IdlePool(Canvas)
    with pytest.raises(ZeroDivisionError), pool.lend(CanvasKey((64, 64), 32)) as failed:
        raise ZeroDivisionError
    with pool.lend(CanvasKey((64, 64), 32)) as fresh:
        assert fresh is not failed


def test_threads_do_not_share_a_canvas() -> None:
    pool = IdlePool(Canvas)
    wanted = [regions((64, 192), 64, seed) for seed in range(8)]

    def use(seed: int) -> bool:
        image = texture((64, 192), seed)
        with pool.lend(CanvasKey((64, 192), 32)) as drawn:
            for _ in range(20):
                frame = drawn.draw(image, wanted[seed], 0)
                if not np.array_equal(frame.to_ndarray(), image):
                    return False
        return True

    with ThreadPoolExecutor(4) as threads:
        assert all(threads.map(use, range(8)))
