"""Damaged files end in a clear error or a right result; benchmarks/fuzz.py tries many more."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from fuzzing.campaign import case
from fuzzing.formats import FORMATS
from fuzzing.targets import Target

from dmic_gym.deploy.decoding import decode_picture
from dmic_gym.errors import DecodeError
from tests.support import ROOT, python

CLEAR = {"refused", "right", "told", "other"}
CAMPAIGN = ["hevc", "tiff", "dicom_video", "command_line"]
QUICK = sorted(FORMATS.keys() - {"command_line"})


@pytest.mark.parametrize("name", QUICK)
def test_damaged_inputs(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    target = FORMATS[name](tmp_path)
    indices = [*range(0, target.cuts, 1 + target.cuts // 20), *range(target.cuts, target.cuts + 40)]
    for index in indices:
        data, cut = case(target, 1, index)
        verdict, words = target.judge(data, cut=cut)
        assert verdict in CLEAR, f"case {index} of seed 1: {verdict} {words}"


@pytest.mark.parametrize("name", ["hevc", "main10"])
def test_every_cut_and_every_flipped_bit_of_a_stream(name: str, tmp_path: Path) -> None:
    """None shows another picture; a few bits, of the zeros before a start code, mean nothing."""
    target = FORMATS[name](tmp_path)
    stream = target.seeds[0]
    for length in range(len(stream)):
        with pytest.raises(DecodeError):
            decode_picture(stream[:length])
    harmless = 0
    for bit in range(8 * len(stream)):
        damaged = bytearray(stream)
        damaged[bit // 8] ^= 1 << bit % 8
        verdict, words = target.judge(bytes(damaged))
        assert verdict in ("refused", "right"), f"bit {bit}: {verdict} {words}"
        harmless += verdict == "right"
    assert harmless <= 8 * 8


def test_the_judge_notices_what_is_wrong() -> None:
    """The instrument itself: a reader that is wrong, and one that fails in its own way."""
    import numpy as np

    lengths = Target([b"abc"], lambda data: np.array([len(data)]), protected=True)
    assert lengths.judge(b"abd") == ("right", "")
    assert lengths.judge(b"ab") == ("wrong", "")
    unprotected = Target([b"abc"], lambda data: np.array([len(data)]))
    assert unprotected.judge(b"ab") == ("other", "")
    assert unprotected.judge(b"ab", cut=True) == ("wrong", "")
    numbers = Target([b"1"], lambda data: np.array([int(data)]))
    assert numbers.judge(b"x")[0] == "foreign"


@pytest.mark.slow
def test_a_campaign_in_a_process_of_limited_memory(tmp_path: Path) -> None:
    record = tmp_path / "fuzz.json"
    options = ["--count", "300", "--seed", "2", "--json", str(record)]
    done = python("benchmarks/fuzz.py", *CAMPAIGN, *options)
    assert done.returncode == 0, done.stdout + done.stderr
    formats = json.loads(record.read_text())["formats"]
    assert list(formats) == CAMPAIGN
    for outcome in formats.values():
        assert sum(outcome["verdicts"].values()) == outcome["cuts"] + outcome["corruptions"]
        assert outcome["peak_mb"] <= 1536
