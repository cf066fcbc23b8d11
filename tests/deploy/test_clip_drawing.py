from __future__ import annotations

import runpy
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

from dmic_gym.agents.video_registry import make_gop_planner
from dmic_gym.deploy.clip_drawing import (
    code,
    draw_strip,
    nearest_in_bits,
    truth_of,
    write_video,
)
from dmic_gym.errors import EncodeError
from tests.envs.video_support import moving_clip, small_evaluator
from tests.support import ROOT


def test_the_anchor_is_as_near_in_bits_as_any_base_qp_allows() -> None:
    evaluator, clip = small_evaluator(), moving_clip(2)
    anchor = make_gop_planner("anchor", evaluator)
    every = {qp: code(evaluator, anchor, clip, qp, 2).bits for qp in range(20, 45)}
    for bits in (every[40] + 5, every[23], (every[30] + every[31]) // 2):
        found = nearest_in_bits(evaluator, anchor, clip, bits, 2)
        distance = {qp: abs(np.log(one / bits)) for qp, one in every.items()}
        assert abs(np.log(found.bits / bits)) == min(distance.values())


def test_groups_are_coded_one_after_the_other() -> None:
    evaluator, clip = small_evaluator(), moving_clip(4)
    coded = code(evaluator, make_gop_planner("roi:6", evaluator), clip, 32, 2)
    stream = b"".join(frame.encoded.bitstream for frame in coded.frames)
    assert coded.bits == 8 * len(stream)
    assert len(evaluator.codec.decode(stream)) == 4
    kept = [frame.figures.quality for frame in coded.frames[1:]]  # the first mask was given
    assert coded.quality == pytest.approx(np.mean(kept))


def test_a_strip_colours_what_is_found_missed_and_invented() -> None:
    evaluator, clip = small_evaluator(), moving_clip(4)
    coded = code(evaluator, make_gop_planner("anchor", evaluator), clip, 32, 4)
    truth = truth_of(evaluator, clip, 4)
    strip = draw_strip({"one": coded, "two": coded}, truth, count=2)
    height, width = clip.shape
    assert strip.shape[1] == 2 * width + 4
    last = strip[len(strip) // 2 - height : len(strip) // 2, width + 4 :]
    mask = coded.frames[3].mask
    assert (last[mask & truth[3]] == (80, 220, 80)).all()
    assert (last[~mask & truth[3]] == (80, 140, 255)).all()
    assert (last[mask & ~truth[3]] == (255, 80, 80)).all()


def test_without_expert_masks_the_segmenters_own_are_the_truth() -> None:
    evaluator, clip = small_evaluator(), moving_clip(2, masks=False)
    (gop,) = clip.gops(2)
    truth = truth_of(evaluator, clip, 2)
    np.testing.assert_array_equal(truth, evaluator.reference(gop).masks)


def test_a_video_that_cannot_be_written_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(EncodeError, match="could not write"):
        write_video([np.zeros((16, 16, 3), np.uint8)], tmp_path / "no" / "folder.mp4")


def test_the_example_draws_a_clip(tmp_path: Path, capsys: Any) -> None:
    main = runpy.run_path(str(ROOT / "examples" / "draw_clip.py"))["main"]
    out = tmp_path / "clip.mp4"
    data = "phantom-clips?count=1&size=64&frames=3"
    main([str(out), "--data", data, "--segmenter", "tests.support:vesselness", "--agent", "roi:4"])
    with av.open(str(out)) as container:
        assert len(list(container.decode(video=0))) == 3
    assert out.with_suffix(".png").stat().st_size > 0
    assert "roi:4 QP 27" in capsys.readouterr().out
