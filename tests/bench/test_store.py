from __future__ import annotations

import sqlite3
import sys
from dataclasses import replace
from pathlib import Path
from textwrap import dedent

import pytest

from dmic_gym.bench.store import FILE, LOCK, Store
from dmic_gym.errors import DataError
from tests.bench.records import ROW, record, stored
from tests.support import python


def fill(folder: Path, count: int) -> None:
    with Store.create(folder) as store:
        for number in range(count):
            store.add(record(f"image-{number}"))


def test_records_come_back_as_they_were_added(tmp_path: Path) -> None:
    added = record(provenance={"image": "ff", "encoder": {"version": "4.2"}}, finished="now", run=1)
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


def test_no_file_of_sqlite_is_left_beside_the_store(tmp_path: Path) -> None:
    fill(tmp_path, 3)
    assert {path.name for path in tmp_path.iterdir()} - {LOCK} == {FILE}


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
    old, other = record(id="old weights"), record("b")
    new = record(id="new weights", row=replace(ROW, bits=8))
    with Store.create(tmp_path) as store:
        for added in (old, other, new):
            store.add(added)
        found = store.records()
        assert [r.id for r in found] == ["new weights", other.id]
        assert len(store.history()) == 3
        assert store.done() == {"old weights", other.id, "new weights"}


def test_records_are_ordered_by_their_settings(tmp_path: Path) -> None:
    with Store.create(tmp_path) as store:
        for image, qp, agent in [("b", 22, "x"), ("a", 32, "y"), ("a", 32, "x"), ("a", 22, "z")]:
            store.add(record(image, qp, agent=agent))
    keys = [(r.cell.image, r.cell.base_qp, r.cell.agent) for r in stored(tmp_path)]
    assert keys == [("a", 22, "z"), ("a", 32, "x"), ("a", 32, "y"), ("b", 22, "x")]


def test_plain_columns_for_other_tools(tmp_path: Path) -> None:
    fill(tmp_path, 2)
    connection = sqlite3.connect(tmp_path / FILE)
    found = connection.execute(
        "SELECT image, agent, base_qp, ctu_size, bits, dice FROM results ORDER BY image"
    ).fetchall()
    connection.close()
    assert found == [(f"image-{n}", "anchor", 32, 64, 800, 0.5) for n in range(2)]


def test_reading_goes_on_beside_the_writer(tmp_path: Path) -> None:
    with Store.create(tmp_path) as writer:
        writer.add(record("a"))
        with Store.open(tmp_path / FILE) as reader:
            assert len(reader.records()) == 1
            writer.add(record("b"))
            assert len(reader.records()) == 2
            with pytest.raises(DataError, match="readonly"):
                reader.add(record("c"))


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
    with pytest.raises(DataError, match=r"No sweep in .* pass the folder that dmic sweep wrote"):
        Store.open(tmp_path)
    (tmp_path / FILE).write_text("words " * 1000)
    with pytest.raises(DataError, match="not a database"):
        Store.open(tmp_path)
    with pytest.raises(DataError, match="not a database"):
        Store.create(tmp_path)
    (tmp_path / FILE).unlink()
    Store.create(tmp_path).close()


@pytest.mark.parametrize("what", ["open", "create"])
def test_a_store_of_another_version_is_refused(tmp_path: Path, what: str) -> None:
    fill(tmp_path, 1)
    connection = sqlite3.connect(tmp_path / FILE)
    connection.execute("PRAGMA user_version = 99")
    connection.close()
    with pytest.raises(DataError, match="store version 99"):
        getattr(Store, what)(tmp_path)


def test_a_damaged_cell_is_named(tmp_path: Path) -> None:
    fill(tmp_path, 1)
    connection = sqlite3.connect(tmp_path / FILE)
    connection.execute("UPDATE cells SET row = '{}'")
    connection.commit()
    connection.close()
    with pytest.raises(DataError, match="Cell image-0-32-anchor of the store is damaged"):
        stored(tmp_path)


@pytest.mark.skipif(sys.platform != "linux", reason="/dev/full")
def test_a_folder_that_cannot_be_made_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match=r"Cannot write into .*file/out.* Pass another --out"):
        Store.create(tmp_path / "file" / "out")


def test_a_malformed_file_is_named_as_such_not_as_safe(tmp_path: Path) -> None:
    fill(tmp_path, 200)
    file = tmp_path / FILE
    data = bytearray(file.read_bytes())
    data[4096:] = bytes(len(data) - 4096)
    file.write_bytes(data)
    with (
        Store.open(file) as store,
        pytest.raises(DataError, match=r"malformed.*is damaged") as told,
    ):
        store.records()
    assert "safe" not in str(told.value)
    with Store.create(tmp_path) as store, pytest.raises(DataError, match=r"is damaged") as told:
        store.add(record("b"))
    assert "safe" not in str(told.value)


@pytest.mark.parametrize(
    ("column", "value", "words"),
    [
        ("row", "5", "'5' is no JSON object"),
        ("row", "{", "Expecting property name"),
        ("cell", "[]", r"'\[\]' is no JSON object"),
        ("cell", '{"data": "x"}', "missing 1 required positional argument: 'image'"),
        ("provenance", "null", "'null' is no JSON object"),
    ],
)
def test_what_is_wrong_with_a_cell_is_said(
    tmp_path: Path, column: str, value: str, words: str
) -> None:
    fill(tmp_path, 1)
    connection = sqlite3.connect(tmp_path / FILE)
    connection.execute(f"UPDATE cells SET {column} = ?", (value,))
    connection.commit()
    connection.close()
    with pytest.raises(
        DataError, match=f"Cell image-0-32-anchor of the store is damaged: .*{words}"
    ):
        stored(tmp_path)


def test_a_figure_that_is_no_number_is_named(tmp_path: Path) -> None:
    fill(tmp_path, 1)
    connection = sqlite3.connect(tmp_path / FILE)
    connection.execute("UPDATE cells SET row = json_set(row, '$.psnr', 'high')")
    connection.commit()
    connection.close()
    with pytest.raises(DataError, match="psnr is 'high', not a number"):
        stored(tmp_path)


def test_a_damaged_run_is_named(tmp_path: Path) -> None:
    with Store.create(tmp_path) as store:
        store.begin_run("dmic sweep x", {}, {})
    connection = sqlite3.connect(tmp_path / FILE)
    connection.execute("UPDATE runs SET definition = 'toml'")
    connection.commit()
    connection.close()
    with Store.open(tmp_path) as store, pytest.raises(DataError, match="Run 1 of the store"):
        store.runs()
