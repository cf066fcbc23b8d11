from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path
from textwrap import dedent

import pytest

from dmic_gym.bench.store import LOCK, ROWS, Store
from dmic_gym.errors import DataError
from tests.bench.records import ROW, record, stored
from tests.support import python


def fill(folder: Path, count: int) -> None:
    with Store.create(folder) as store:
        for number in range(count):
            store.add(record(f"image-{number}"))


def test_records_come_back_as_they_were_added(tmp_path: Path) -> None:
    added = record(made={"image": "ff", "encoder": {"version": "4.2"}}, run=1)
    with Store.create(tmp_path) as store:
        assert store.begin_run("dmic sweep x", {"data": ["phantoms"]}, {"av": "18"}) == 1
        store.add(added)
        assert store.begin_run("dmic sweep x --resume", {}, {}) == 2
    with Store.open(tmp_path) as store:
        assert store.records() == [added]
        assert store.done() == {added.id}
        first, second = store.runs()
    assert (first.number, first.command) == (1, "dmic sweep x")
    assert first.definition == {"data": ["phantoms"]}
    assert first.versions == {"av": "18"}
    assert first.began.startswith("20")
    assert second.number == 2


def test_one_line_a_row_and_no_other_file(tmp_path: Path) -> None:
    fill(tmp_path, 3)
    assert {path.name for path in tmp_path.iterdir()} - {LOCK} == {ROWS}
    origin, *rows = map(json.loads, (tmp_path / ROWS).read_text().splitlines())
    assert origin["cell"]["agent"] == "anchor"
    assert [row["of"] for row in rows] == [origin["origin"]] * 3
    assert [(row["image"], row["base_qp"], row["bits"]) for row in rows] == [
        (f"image-{n}", 32, 800) for n in range(3)
    ]


def test_a_failure_is_stored_and_a_success_takes_its_place(tmp_path: Path) -> None:
    good = record()
    with Store.create(tmp_path) as store:
        store.add(replace(good, row=None, error="EncodeError: no"))
        assert store.done() == set()
        assert store.records() == []
        assert [failed.error for failed in store.failures()] == ["EncodeError: no"]
        store.add(good)
        assert [found.row for found in store.records()] == [ROW]
        assert store.failures() == []
        assert len(store.history()) == 1


def test_the_newest_of_equal_settings_counts(tmp_path: Path) -> None:
    old, other = record(made={"segmenter": "old"}), record("b")
    new = record(made={"segmenter": "new"}, row=replace(ROW, bits=8))
    with Store.create(tmp_path) as store:
        for added in (old, other, new):
            store.add(added)
        found = store.records()
        assert [r.id for r in found] == [new.id, other.id]
        assert len(store.history()) == 3
        assert store.done() == {old.id, other.id, new.id}


def test_records_are_ordered_by_their_settings(tmp_path: Path) -> None:
    with Store.create(tmp_path) as store:
        for image, qp, agent in [("b", 22, "x"), ("a", 32, "y"), ("a", 32, "x"), ("a", 22, "z")]:
            store.add(record(image, qp, agent=agent))
    keys = [(r.cell.image, r.cell.base_qp, r.cell.agent) for r in stored(tmp_path)]
    assert keys == [("a", 22, "z"), ("a", 32, "x"), ("a", 32, "y"), ("b", 22, "x")]


def test_reading_goes_on_beside_the_writer(tmp_path: Path) -> None:
    with Store.create(tmp_path) as writer:
        writer.add(record("a"))
        assert len(stored(tmp_path)) == 1
        writer.add(record("b"))
        assert len(stored(tmp_path)) == 2


@pytest.mark.parametrize("left", [1, 40])
def test_an_unfinished_last_line_is_cut_off(tmp_path: Path, left: int) -> None:
    fill(tmp_path, 3)
    file = tmp_path / ROWS
    whole = file.read_bytes()
    last = whole[:-1].rindex(b"\n") + 1
    file.write_bytes(whole[: last + left])
    assert {r.cell.image for r in stored(tmp_path)} == {"image-0", "image-1"}
    fill(tmp_path, 3)
    assert len(stored(tmp_path)) == 3
    assert whole.startswith(file.read_bytes()[:last])


def test_a_store_in_memory_is_written_as_one_on_disk_and_goes_on_there(tmp_path: Path) -> None:
    with Store.in_memory(tmp_path) as store:
        store.begin_run("dmic bench", {"data": ["phantoms"]}, {})
        store.add(record("b", run=1))
        assert not (tmp_path / ROWS).exists()
        store.write()
        store.add(record("a", run=1))
        assert len(stored(tmp_path)) == 2
        with pytest.raises(DataError, match="Another sweep"):
            Store.create(tmp_path)
        expected = store.records(), store.runs()
    with Store.open(tmp_path) as read:
        assert (read.records(), read.runs()) == expected


def test_a_second_writer_is_refused_until_the_first_has_gone(tmp_path: Path) -> None:
    with (
        Store.create(tmp_path),
        pytest.raises(DataError, match=r"Another sweep is writing to .* --out"),
    ):
        Store.create(tmp_path)
    Store.create(tmp_path).close()


WRITER = dedent("""
    import os, signal, sys
    from dmic_gym.bench.store import Store
    from tests.bench.records import record
    store = Store.create(sys.argv[1])
    for number in range(int(sys.argv[2])):
        store.add(record(f"image-{number}"))
        print(number, flush=True)
    os.kill(os.getpid(), signal.SIGKILL)
""")


def test_kill_9_loses_nothing_that_was_added_and_frees_the_lock(tmp_path: Path) -> None:
    done = python("-c", WRITER, str(tmp_path), "30")
    assert done.returncode == -9, done.stderr
    assert len(done.stdout.split()) == 30
    assert len(stored(tmp_path)) == 30
    fill(tmp_path, 31)
    assert len(stored(tmp_path)) == 31


# Run with -B: on a full disk Python would leave half of its own .pyc files behind.
FULL_DISK = dedent("""
    import resource, sys
    from dmic_gym.bench.store import Store
    from dmic_gym.errors import DataError
    from tests.bench.records import record
    store = Store.create(sys.argv[1])
    resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, 200_000))
    number = 0
    try:
        while True:
            store.add(record(f"image-{number}"))
            number += 1
    except DataError as error:
        print(number)
        print(error, file=sys.stderr)
        store.close()
""")


def test_a_full_disk_loses_only_the_cell_that_did_not_fit(tmp_path: Path) -> None:
    done = python("-B", "-c", FULL_DISK, str(tmp_path))
    assert done.returncode == 0, done.stderr
    assert "Cannot write" in done.stderr
    assert "--resume" in done.stderr
    added = int(done.stdout)
    assert added > 10
    assert {r.cell.image for r in stored(tmp_path)} == {f"image-{n}" for n in range(added)}
    fill(tmp_path, added + 5)
    assert len(stored(tmp_path)) == added + 5


def test_what_is_no_store_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"No run in .* pass the folder that dmic sweep"):
        Store.open(tmp_path)
    (tmp_path / "results.json").write_text("{}")
    with pytest.raises(DataError, match=r"names no file of rows"):
        Store.open(tmp_path / "results.json")


RUN = {"run": 1, "version": 2, "began": "", "command": "", "definition": {}, "versions": {}}


@pytest.mark.parametrize("what", ["open", "create"])
@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("words", r"line 2 is damaged: Expecting value"),
        ("[]", r"line 2 is damaged"),
        (json.dumps(RUN | {"version": 99}), r"its version is 99, this dmic_gym reads 2"),
        (json.dumps(RUN | {"more": 1}), r"unexpected keyword argument 'more'"),
        ('{"of": 7, "image": "a"}', r"line 2 is damaged: list index out of range"),
        ('{"origin": 0}', r"line 2 is damaged: 'cell'"),
    ],
)
def test_what_is_wrong_is_said_with_its_line(
    tmp_path: Path, what: str, line: str, words: str
) -> None:
    (tmp_path / ROWS).write_text(f"{json.dumps(RUN)}\n{line}\n{json.dumps(RUN)}\n")
    with pytest.raises(DataError, match=words) as told:
        getattr(Store, what)(tmp_path)
    assert "safe" not in str(told.value)
    assert str(tmp_path / ROWS) in str(told.value)
    (tmp_path / ROWS).unlink()
    Store.create(tmp_path).close()


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"psnr": "high"}, "psnr is 'high', not a number"),
        ({"bits": True}, "bits is True, not a number"),
        ({"qp_map": 3}, "qp_map is no list"),
        ({"sha256": None}, "sha256 is no text"),
        ({"more": 1}, "unexpected keyword argument 'more'"),
    ],
)
def test_what_is_wrong_with_a_row_is_said(
    tmp_path: Path, change: dict[str, object], words: str
) -> None:
    fill(tmp_path, 1)
    origin, row = (tmp_path / ROWS).read_text().splitlines()
    (tmp_path / ROWS).write_text(f"{origin}\n{json.dumps(json.loads(row) | change)}\n")
    with pytest.raises(DataError, match=f"line 2 is damaged: .*{words}"):
        stored(tmp_path)


@pytest.mark.skipif(sys.platform != "linux", reason="/dev/full")
def test_a_folder_that_cannot_be_made_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match=r"Cannot write into .*file/out.* Pass another --out"):
        Store.create(tmp_path / "file" / "out")
