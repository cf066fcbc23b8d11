from __future__ import annotations

import runpy
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from dmic_gym.deploy.coder import Coder, Settings, encode_picture
from dmic_gym.deploy.drawing import draw_encodings
from dmic_gym.deploy.pictures import Picture
from tests.support import ROOT, phantoms, vesselness


def test_the_drawing_has_a_row_for_each_encoding() -> None:
    sample = phantoms(2, 100)[1]
    original = Picture(sample.image)
    settings = Settings(agent="anchor", preset="ultrafast", segmenter=vesselness)
    with Coder(settings) as coder:
        fine = coder.encode(original)
        coarse = encode_picture(original, replace(settings, qp=45))
        both = draw_encodings(coder, original, {"fine": fine, "coarse": coarse}, sample.mask)
        first = draw_encodings(coder, original, {"fine": fine}, sample.mask)
    assert both.dtype == np.uint8
    assert both.shape == (2 * first.shape[0], first.shape[1], 3)
    np.testing.assert_array_equal(both[: first.shape[0]], first)
    assert not np.array_equal(both[first.shape[0] + 30 :], first[30:])


@pytest.mark.slow
def test_the_example_draws_two_rows(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main = runpy.run_path(str(ROOT / "examples" / "draw_encodings.py"))["main"]
    main([str(tmp_path / "drawn.png"), "--agent", "roi", "--qp", "40"])
    drawn = cv2.imread(str(tmp_path / "drawn.png"))
    assert drawn is not None
    assert drawn.shape[1] > 4 * 300
    assert drawn.shape[0] > 2 * 300
    assert "anchor" in capsys.readouterr().out
