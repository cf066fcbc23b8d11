from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from textwrap import dedent
from typing import Any

import pytest

from dmic_gym.bench.rows import Record
from dmic_gym.bench.store import Store
from tests.bench.records import stored
from tests.bench.sweeping import SMALL, comparable, run_into, small, swept, toml
from tests.support import ROOT

MODULE = "tests.bench.sweeping"


def command(
    *arguments: object, name: str = "sweep", **variables: str
) -> subprocess.CompletedProcess[str]:
    """Run `dmic sweep`, or another, in a process of its own."""
    return subprocess.run(
        [sys.executable, "-c", "from dmic_gym.cli import main; main()", name]
        + [str(argument) for argument in arguments],
        cwd=ROOT,
        env={**os.environ, **variables},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize(
    "engine",
    [
        ("--jobs", "1"),
        pytest.param(("--jobs", "2"), marks=pytest.mark.slow),
    ],
)
def test_killed_twice_and_resumed_it_equals_an_unbroken_sweep(
    tmp_path: Path, engine: tuple[str, str]
) -> None:
    harm, broken = tmp_path / "harm", tmp_path / "out"
    harm.mkdir()
    file = toml(tmp_path, agents=[f"{MODULE}:KillsTheSweep"])
    arguments = (file, "--out", broken, "--resume", *engine)
    counts = []
    for _ in range(2):
        done = command(*arguments, HARM=str(harm))
        assert done.returncode == -9, done.stderr
        counts.append(len(stored(broken)))
    assert counts[0] <= counts[1] < 12
    assert command(*arguments, HARM=str(harm)).returncode == 0
    records = swept(tmp_path / "whole", agents=[f"{MODULE}:KillsTheSweep"])
    assert len(records) == 12
    assert comparable(stored(broken)) == comparable(records)
    with Store.open(broken) as store:
        assert len(store.history()) == 12
        assert [run.number for run in store.runs()] == [1, 2, 3]


def test_ctrl_c_ends_it_and_keeps_what_is_done(tmp_path: Path) -> None:
    harm = tmp_path / "harm"
    harm.mkdir()
    file = toml(tmp_path, agents=[f"{MODULE}:InterruptsTheSweep"])
    done = command(file, "--out", tmp_path / "out", HARM=str(harm))
    assert done.returncode == 130
    count = len(stored(tmp_path / "out"))
    assert 0 < count < 12
    assert f"Interrupted: {count} finished cells are in" in done.stderr
    assert "Traceback" not in done.stderr


def test_ctrl_c_between_a_cells_writing_and_its_note_counts_the_cell(
    tmp_path: Path, dmic: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    keep = Store._keep

    def interrupted(store: Store, record: Record) -> None:
        if len(store.done()) == 2 and store._file is not None:
            raise KeyboardInterrupt
        keep(store, record)

    monkeypatch.setattr(Store, "_keep", interrupted)
    code, _, errors = dmic("sweep", toml(tmp_path), "--out", tmp_path / "out", "--jobs", "1")
    assert code == 130
    assert "Interrupted: 3 finished cells are in" in errors
    assert len(stored(tmp_path / "out")) == 3


def test_bench_keeps_its_rows_goes_on_with_them_and_replaces_none_for_a_mistake(
    tmp_path: Path, dmic: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    harm, out = tmp_path / "harm", tmp_path / "out"
    harm.mkdir()
    monkeypatch.setenv("HARM", str(harm))
    given = (
        *("--data", SMALL["data"][0], "--qps", "27,32,37", "--preset", "ultrafast"),
        *("--segmenter", SMALL["segmenter"], "--jobs", "1", "--out", out),
    )
    bench = ("bench", *given, "--agents", f"anchor,{MODULE}:InterruptsTheSweep")
    code, _, errors = dmic(*bench)
    kept = stored(out)
    assert code == 130
    assert 0 < len(kept) < 12
    assert f"Interrupted: {len(kept)} finished cells are in" in errors
    assert dmic(*bench, "--resume")[0] == 0
    assert len(stored(out)) == 12
    assert comparable(stored(out)).items() > comparable(kept).items()
    before = sorted(path.name for path in out.iterdir())
    assert dmic("bench", *given, "--agents", "anchor,ancor")[0] != 0
    assert sorted(path.name for path in out.iterdir()) == before


# Run with -B: on a full disk Python would leave half of its own .pyc files behind.
FULL_DISK = dedent("""
    import resource, sys
    from dmic_gym.cli import main
    resource.setrlimit(resource.RLIMIT_FSIZE, (12_000, 12_000))
    main()
""")


def test_a_full_disk_ends_it_with_a_word_and_resume_goes_on(tmp_path: Path) -> None:
    file = toml(tmp_path, data=["phantoms?count=9&size=64"])
    arguments = ["sweep", file, "--out", tmp_path / "out", "--jobs", "1"]
    done = subprocess.run(
        [sys.executable, "-B", "-c", FULL_DISK, *map(str, arguments)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2, done.stderr
    assert "make room and go on with --resume" in done.stderr
    assert 0 < len(stored(tmp_path / "out")) < 54
    definition = small(data=["phantoms?count=9&size=64"])
    run_into(tmp_path / "out", definition, resume=True)
    assert len(stored(tmp_path / "out")) == 54
    with Store.open(tmp_path / "out") as store:
        assert len(store.history()) == 54


def test_a_second_sweep_on_the_store_is_refused(dmic: Any, tmp_path: Path) -> None:
    with Store.create(tmp_path / "out"):
        code, _, err = dmic("sweep", toml(tmp_path), "--out", tmp_path / "out", "--resume")
    assert code == 2
    assert "Another sweep is writing to" in err


def test_ctrl_c_ends_a_benchmark_too(tmp_path: Path) -> None:
    (tmp_path / "harm").mkdir()
    done = command(
        "--data", "phantoms?count=2&size=96", "--agents", f"{MODULE}:InterruptsTheSweep",
        "--preset", "ultrafast", "--segmenter", "tests.support:vesselness", "--jobs", "1",
        "--out", tmp_path / "out",
        name="bench", HARM=str(tmp_path / "harm"),
    )  # fmt: skip
    assert done.returncode == 130
    assert "finished cells are in" in done.stderr
    assert 0 < len(stored(tmp_path / "out")) < 16
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "out" / "results.json").exists()
