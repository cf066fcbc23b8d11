from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dmic_gym.bench import provenance as identity_module
from dmic_gym.bench.definition import Definition
from dmic_gym.bench.engines import SerialEngine
from dmic_gym.bench.store import Store
from dmic_gym.codecs import X265Codec, uniform_map
from dmic_gym.errors import InvalidInputError
from tests.bench.records import stored
from tests.bench.sweeping import comparable, run_into, small, swept, toml
from tests.support import phantoms

MODULE = "tests.bench.sweeping"


@pytest.fixture(scope="module")
def unbroken(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The small sweep, done."""
    folder = tmp_path_factory.mktemp("unbroken")
    swept(folder)
    return folder


def test_every_cell_is_stored_with_what_coding_it_gives(unbroken: Path) -> None:
    records = stored(unbroken)
    assert len(records) == 12
    samples = {sample.name: sample for sample in phantoms(2, 96)}
    codec = X265Codec(64, "ultrafast")
    for found in records:
        assert found.row is not None
        assert found.provenance["encoder"]["version"].startswith("x265 (build ")
        assert "psy-rd=0" in found.provenance["encoder"]["x265_params"]
        if found.cell.agent == "anchor":
            image = samples[found.cell.image].image
            coded = codec.encode([image], [uniform_map((96, 96), 64, found.cell.point)])[0]
            assert found.row.bits == coded.bits
    with Store.open(unbroken) as store:
        (run,) = store.runs()
    assert Definition.of(json.loads(json.dumps(run.definition))) == small()
    assert {"python", "av", "dmic_gym"} <= run.versions.keys()


def test_a_done_store_is_refused_without_resume_and_kept_with_it(unbroken: Path) -> None:
    before = comparable(stored(unbroken))
    with pytest.raises(InvalidInputError, match="holds 12 finished cells: add --resume"):
        run_into(unbroken, small())
    coded: list[object] = []
    run_into(unbroken, small(), resume=True, on_record=coded.append)
    assert coded == []
    assert comparable(stored(unbroken)) == before


def test_a_larger_sweep_on_the_same_store_codes_only_what_is_new(tmp_path: Path) -> None:
    swept(tmp_path)
    coded: list[Any] = []
    more = small(agents=["anchor", "roi", "random"], seeds=[0, 1])
    run_into(tmp_path, more, resume=True, on_record=coded.append)
    assert {(r.cell.agent, r.cell.seed) for r in coded} == {("random", 0), ("random", 1)}
    assert len(coded) == 12
    assert len(stored(tmp_path)) == 24


def test_seeds_reach_the_agents_that_draw(tmp_path: Path) -> None:
    records = swept(tmp_path, agents=["random"], seeds=[1, 2], base_qps=[32])
    maps = {
        (r.cell.image, r.cell.agent, r.cell.seed): r.row.qp_map
        for r in records
        if r.row is not None
    }
    assert {key[1:] for key in maps} == {("anchor", 0), ("random", 1), ("random", 2)}
    image = records[0].cell.image
    assert maps[image, "random", 1] != maps[image, "random", 2]


def test_a_dry_run_says_what_it_would_do_and_does_nothing(
    dmic: Any, tmp_path: Path, unbroken: Path
) -> None:
    file = toml(tmp_path)
    code, out, _ = dmic("sweep", file, "--out", tmp_path / "out", "--dry-run")
    assert code == 0
    assert "anchor (6), roi (6)" in out
    assert "27 (4), 32 (4), 37 (4)" in out
    assert "12 cells of 2 images, 0 of them done" in out
    assert not (tmp_path / "out").exists()
    _, out, _ = dmic("sweep", file, "--out", unbroken, "--dry-run", "--only", "agent=roi")
    assert "6 cells of 2 images, 6 of them done" in out


def test_the_command_codes_what_only_chooses_and_tables_what_there_is(
    dmic: Any, tmp_path: Path
) -> None:
    arguments = ("sweep", toml(tmp_path), "--out", tmp_path / "out", "--jobs", "1")
    code, out, _ = dmic(*arguments, "--only", "agent=anchor,base_qp=3*")
    assert code == 0
    assert "4 of 12 cells in" in out
    assert {r.cell.base_qp for r in stored(tmp_path / "out")} == {32, 37}
    code, out, err = dmic(*arguments, "--resume")
    assert code == 0
    assert "BD-rate" in out
    assert "BD-rate, QP 27, 32, 37" in out
    assert "12 of 12 cells in" in out
    assert "12/12" in err


def test_a_cell_that_fails_is_stored_and_tried_again(
    dmic: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    harm = tmp_path / "harm"
    harm.mkdir()
    monkeypatch.setenv("HARM", str(harm))
    file = toml(tmp_path, agents=[f"{MODULE}:Fails"])
    arguments = ("sweep", file, "--out", tmp_path / "out", "--jobs", "1")
    code, out, err = dmic(*arguments)
    assert code == 1
    assert "ZeroDivisionError: a bug of the user's" in out
    assert "1 cells failed; --resume tries them again" in out
    assert "1 failed" in err
    assert len(stored(tmp_path / "out")) == 11
    assert dmic(*arguments, "--resume")[0] == 0
    assert len(stored(tmp_path / "out")) == 12


def test_a_worker_with_another_installation_codes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Elsewhere(SerialEngine):
        def run(self, groups: Any) -> Any:
            monkeypatch.setattr(identity_module, "__version__", "0.0.9")
            yield from super().run(groups)

    run_into(tmp_path, small(images=1), Elsewhere())
    with Store.open(tmp_path) as store:
        assert store.done() == set()
        assert all("package is 0.0.9, planned was" in (r.error or "") for r in store.failures())


def test_images_without_structure_are_left_out_and_named(dmic: Any, tmp_path: Path) -> None:
    import cv2

    folder = tmp_path / "data"
    folder.mkdir()
    for number, sample in enumerate(phantoms(2, 96)):
        assert sample.mask is not None
        cv2.imwrite(str(folder / f"{number}.png"), sample.image)
        cv2.imwrite(str(folder / f"{number}_gt.png"), sample.mask.astype(np.uint8) * 255 * number)
    file = toml(tmp_path, data=[str(folder)])
    code, out, _ = dmic("sweep", file, "--out", tmp_path / "out", "--jobs", "1")
    assert code == 0
    assert "left out, expert mask empty: 0" in out
    assert {r.cell.image for r in stored(tmp_path / "out")} == {"1"}


def test_variables_in_data_are_expanded_to_run_and_kept_in_records(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import cv2

    (sample,) = phantoms(1, 96)
    cv2.imwrite(str(tmp_path / "only.png"), sample.image)
    monkeypatch.setenv("SWEPT", str(tmp_path))
    records = swept(tmp_path / "out", data=["$SWEPT"], agents=["anchor"])
    assert {r.cell.data for r in records} == {"$SWEPT"}
    assert str(tmp_path) not in str(records)
    with Store.open(tmp_path / "out") as store:
        assert str(tmp_path) not in str(store.runs())
