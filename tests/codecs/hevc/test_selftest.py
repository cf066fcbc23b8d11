"""A codec that ignores QP offsets must refuse to work."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from dmic_gym.codecs import FFmpegCodec, X265Codec
from dmic_gym.codecs.hevc import codec as hevc_codec
from dmic_gym.codecs.hevc import selftest
from dmic_gym.codecs.hevc.regions import REGION, Regions, regions_of_interest
from dmic_gym.errors import CodecError, SelfTestError
from tests.support import texture

IMAGE, QPS = texture((64, 64)), np.array([[30]])


@pytest.fixture(autouse=True)
def nothing_passed_yet(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(selftest, "_passed", set())


@pytest.mark.parametrize("make", [X265Codec, FFmpegCodec])
@pytest.mark.parametrize("override", [{"aq-mode": 0}, {"aq-strength": 0}])
def test_x265_settings_that_drop_offsets_are_refused(make: Any, override: dict[str, int]) -> None:
    name = next(iter(override))
    with pytest.raises(SelfTestError, match=f"ignores QP offsets.*Remove .*{name}=0") as caught:
        make(64, "ultrafast", override).encode([IMAGE], [QPS])
    assert isinstance(caught.value, CodecError)


def test_constant_qp_mode_is_refused() -> None:
    with pytest.raises(SelfTestError, match="qp=30"):
        X265Codec(64, "ultrafast", {"qp": 30}).encode([IMAGE], [QPS])


def test_a_refused_codec_stays_refused_and_harms_no_other() -> None:
    bad, good = X265Codec(64, "ultrafast", {"aq-mode": 0}), X265Codec(64, "ultrafast")
    for _ in range(2):
        with pytest.raises(SelfTestError):
            bad.encode([IMAGE], [QPS])
        good.encode([IMAGE], [QPS])


def test_offsets_lost_on_the_way_are_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hevc_codec, "regions_of_interest", lambda *_: np.empty(0, REGION))
    with pytest.raises(SelfTestError, match="pip install"):
        X265Codec(64, "ultrafast").encode([IMAGE], [QPS])


def test_reversed_offsets_are_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    true = regions_of_interest

    def reversed_offsets(qps: Any, base_qp: int, *rest: Any) -> Regions:
        return true(2 * base_qp - qps, base_qp, *rest)

    monkeypatch.setattr(hevc_codec, "regions_of_interest", reversed_offsets)
    with pytest.raises(SelfTestError):
        X265Codec(64, "ultrafast").encode([IMAGE], [QPS])


def test_it_runs_once_per_process_and_configuration(monkeypatch: pytest.MonkeyPatch) -> None:
    tested = []
    sizes = selftest._stream_sizes

    def counted(codec: Any, code: Any) -> dict[int, int]:
        tested.append(codec.configuration)
        return sizes(codec, code)

    monkeypatch.setattr(selftest, "_stream_sizes", counted)
    for _ in range(2):
        for ctu_size in (64, 16):
            codec = X265Codec(ctu_size, "ultrafast")
            codec.encode([IMAGE], [np.full((64 // ctu_size, 64 // ctu_size), 30)])
            codec.encode([IMAGE], [np.full((64 // ctu_size, 64 // ctu_size), 20)])
    assert len(tested) == len(set(tested)) == 2
