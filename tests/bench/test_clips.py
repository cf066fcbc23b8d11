"""Clips in sweeps: one row a clip, coded group by group."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dmic_gym.agents.video_registry import make_gop_planner
from dmic_gym.bench.cells import Cell, Row
from dmic_gym.bench.clips import code_clip
from dmic_gym.bench.html.document import make_document
from dmic_gym.bench.html.report_data import read_report_data
from dmic_gym.bench.plan import make_plan, plan_lines
from dmic_gym.bench.replay import replay
from dmic_gym.bench.results import results_of
from dmic_gym.bench.results_files import read_results
from dmic_gym.bench.rows import Record
from dmic_gym.bench.store import Store
from dmic_gym.bench.tables import bd_tables, point_tables, title
from dmic_gym.codecs.hevc.x265 import X265Codec
from dmic_gym.envs.video_evaluator import VideoEvaluator
from dmic_gym.errors import InvalidInputError
from dmic_gym.tasks.data.clips.registry import load_clips
from dmic_gym.tasks.metrics import binarize, dice, iou
from tests.bench.records import stored
from tests.bench.sweeping import comparable, small, swept, toml
from tests.support import Image, vesselness

DATA = "phantom-clips?count=2&size=96&frames=4"
CLIPS: dict[str, Any] = {
    "data": [DATA],
    "agents": ["anchor", "random", "cap:6:40"],
    "ctu_sizes": [32],
    "gop": 2,
    "compare": ["random"],
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("clips")
    swept(folder, **CLIPS)
    return folder


@pytest.fixture(scope="module")
def records(folder: Path) -> list[Record]:
    return stored(folder)


def row_of(records: list[Record], **wanted: Any) -> Row:
    (row,) = (
        record.row
        for record in records
        if all(getattr(record.cell, key) == value for key, value in wanted.items())
    )
    assert row is not None
    return row


def test_a_row_is_a_whole_clip_that_any_decoder_shows(records: list[Record]) -> None:
    clip = load_clips(DATA)[1]
    assert clip.masks is not None
    row = row_of(records, image=clip.name, agent="cap:6:40", base_qp=32)
    assert np.shape(row.qp_map) == (4, 3, 3)
    codec = X265Codec(32, "ultrafast")
    streams = []
    for group in (0, 2):
        with codec.video(clip.shape, 32) as stream:
            streams += [
                stream.encode(clip.frames[n], np.array(row.qp_map[n])).bitstream
                for n in range(group, group + 2)
            ]
    joined = b"".join(streams)
    assert row.sha256 == hashlib.sha256(joined).hexdigest()
    assert row.bits == 8 * len(joined)
    masks = binarize(vesselness(codec.decode(joined)))
    scored = range(1, 4)  # the first frame's mask was given
    assert row.dice == pytest.approx(np.mean([dice(masks[n], clip.masks[n]) for n in scored]))
    assert row.iou == pytest.approx(np.mean([iou(masks[n], clip.masks[n]) for n in scored]))


def test_replay_reproduces_every_row(records: list[Record]) -> None:
    assert len(records) == 18
    assert [verdict.differences for verdict in replay(records)] == [()] * 18


def test_another_length_of_groups_is_another_measurement(records: list[Record]) -> None:
    one = make_plan(small(**{**CLIPS, "gop": 4}))
    assert not {planned.id for planned in one.cells} & {record.id for record in records}
    assert "gop        4 (18)" in plan_lines(one.cells)


def test_images_know_nothing_of_groups() -> None:
    planned = make_plan(small(gop=2)).cells[0]
    assert planned.id == make_plan(small(gop=7)).cells[0].id
    assert "gop" not in planned.cell.as_dict()
    assert planned.cell == Cell(**planned.cell.as_dict())


def test_results_and_tables_speak_of_clips(folder: Path, records: list[Record]) -> None:
    (results,) = results_of(records, small(**CLIPS))
    assert results["protocol"]["gop"] == 2
    assert "keyint=-1" in results["protocol"]["x265_params"]
    assert title(results) == f"{DATA}: 2 clips, x265 ultrafast, CTU 32, 2 frames a group"
    cap = results["agents"]["cap:6:40"]
    assert cap["iou"].keys() == cap["consistency"].keys() >= {"bd_rate_percent", "against"}
    assert set(cap["consistency"]["against"]) == {"random"}
    assert {"J", "minus random", "consistency minus random"} <= set(bd_tables(results)[0].columns)
    assert all(point["iou"] is not None for point in cap["points"])
    assert len(point_tables(results)) == 3
    rows = cap["images"]
    assert [row["qp_map"] for row in rows] == [
        record.row.qp_map for record in records if record.row and record.cell.agent == "cap:6:40"
    ]


def test_bench_and_sweep_make_the_same_rows(
    folder: Path, records: list[Record], dmic: Any, tmp_path: Path
) -> None:
    assert dmic("sweep", toml(tmp_path, **CLIPS), "--out", "s", "--jobs", "1")[0] == 0
    assert comparable(stored(tmp_path / "s")) == comparable(records)
    code, out, _ = dmic(
        *("bench", "--task", DATA, "--agents", "anchor,random,cap:6:40", "--qps", "27,32,37"),
        *("--ctu-size", "32", "--preset", "ultrafast", "--jobs", "1", "--out", "b"),
        *("--segmenter", "tests.support:vesselness", "--compare", "random"),
    )
    assert code == 0
    assert "2 clips" in out
    (read,) = read_results(tmp_path / "b")
    assert read["protocol"]["gop"] == 10  # the clip's four frames are one group
    assert read["agents"]["cap:6:40"]["images"][0]["bits"] > 0


def test_a_report_shows_the_middle_frame(folder: Path) -> None:
    with Store.open(folder) as store:
        data = read_report_data(store)
    assert (data.done, data.planned) == (18, 18)
    (section,) = make_document(data).sections
    assert section.strips or all("No picture" not in note for note in section.notes)
    for strip in section.strips:
        assert strip.panels[0].note == "96 x 96, frame 2 of 4"
        assert len(strip.panels) == 6


def test_a_second_network_scores_the_decoded_frames() -> None:
    def inverted(images: Image, /) -> Any:
        return (1.0 - vesselness(images)).astype(np.float32)

    clip = load_clips(DATA)[0]
    codec = X265Codec(32, "ultrafast")
    evaluator, second = (VideoEvaluator(codec, network) for network in (vesselness, inverted))
    cell = Cell(DATA, clip.name, "anchor", 37, ctu_size=32, gop=4)
    row = code_clip(evaluator, make_gop_planner("anchor", evaluator), clip, cell, second)
    assert clip.masks is not None
    (gop,) = clip.gops(4)
    frames = evaluator.uniform(evaluator.reference(gop), 37)[0].frames[1:]
    masks = [binarize(inverted(frame.encoded.reconstruction[None])[0]) for frame in frames]
    expected = [dice(mask, truth) for mask, truth in zip(masks, clip.masks[1:], strict=True)]
    assert row.second_dice == pytest.approx(np.mean(expected))


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"codecs": ["x265", "jpeg"]}, r"jpeg codes none: type codecs = \[.x265.\]"),
        ({"agents": ["roi+refine:3"]}, "does not code clips. These do: anchor"),
        ({"gop": 0}, "gop = 0: type a number of 1 or more"),
    ],
)
def test_what_clips_do_not_take(changes: dict[str, Any], words: str) -> None:
    with pytest.raises(InvalidInputError, match=words):
        make_plan(small(**{**CLIPS, **changes}))
