from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from typing import Any

import pytest

from dmic_gym.bench import worker
from dmic_gym.bench.engines import ProcessEngine, SerialEngine, cores, make_engine
from dmic_gym.bench.plan import make_plan
from dmic_gym.bench.store import Store
from dmic_gym.errors import DmicError, InvalidInputError, MissingDependencyError, WorkerError
from tests.bench.records import stored
from tests.bench.sweeping import comparable, run_into, small

NETWORKS = {"segmenter": "unet", "second": "second", "agents": ["anchor", "random", "search:8"]}


def assert_same(found: dict[str, Any], expected: dict[str, Any]) -> None:
    """Rows equal but for qualities, which may differ by 1e-3."""
    assert found.keys() == expected.keys()
    for key, (cell, what, row, error) in found.items():
        other_cell, other_what, other_row, other_error = expected[key]
        assert (cell, what, error) == (other_cell, other_what, other_error)
        assert (row.bits, row.qp_map, row.sha256) == (
            other_row.bits,
            other_row.qp_map,
            other_row.sha256,
        )
        for name in ("dice", "consistency_dice", "psnr"):
            assert getattr(row, name) == pytest.approx(getattr(other_row, name), abs=1e-3)


def swept_by(engine: Any, folder: Path, **changes: Any) -> dict[str, Any]:
    run_into(folder, small(**changes), engine)
    return comparable(stored(folder))


@pytest.fixture
def harm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let agents of `tests.bench.sweeping` do their harm."""
    (tmp_path / "harm").mkdir()
    monkeypatch.setenv("HARM", str(tmp_path / "harm"))


def test_processes_give_what_this_process_gives(tmp_path: Path) -> None:
    expected = swept_by(SerialEngine(), tmp_path / "serial", agents=["random"], seeds=[0, 1])
    found = swept_by(make_engine(2), tmp_path / "two", agents=["random"], seeds=[0, 1])
    assert found == expected


def test_order_does_not_matter(tmp_path: Path) -> None:
    class Backwards(SerialEngine):
        def run(self, groups: Any) -> Any:
            for group in reversed(groups):
                turned = type(group)(group.source, group.cells[::-1])
                yield from super().run([turned])

    changes = {"agents": ["random", "search:8"]}
    expected = swept_by(SerialEngine(), tmp_path / "forth", **changes)
    assert swept_by(Backwards(), tmp_path / "back", **changes) == expected


@pytest.mark.usefixtures("harm")
def test_a_worker_that_dies_costs_the_cell_it_was_at(tmp_path: Path) -> None:
    definition = small(agents=["tests.bench.sweeping:KillsItsWorker"])
    run_into(tmp_path / "out", definition, ProcessEngine(1))
    with Store.open(tmp_path / "out") as store:
        assert len(store.done()) == 11
        (failed,) = store.failures()
    assert failed.error == "The worker process died (exit code -9)."
    run_into(tmp_path / "out", definition, resume=True)
    assert len(stored(tmp_path / "out")) == 12


def test_a_worker_that_cannot_start_ends_the_sweep(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(worker, "_serve", sys.exit)  # pickled by name: the child's own exit
    with pytest.raises(WorkerError, match="could not start"):
        run_into(tmp_path, small(), ProcessEngine(1))


def test_closing_the_iterator_ends_the_processes(monkeypatch: pytest.MonkeyPatch) -> None:
    killed: list[worker.Worker] = []
    kill = worker.Worker.kill

    def noted(process: worker.Worker) -> None:
        killed.append(process)
        kill(process)

    monkeypatch.setattr(worker.Worker, "kill", noted)
    records: Any = ProcessEngine(1).run(make_plan(small()).groups)
    next(records)
    records.close()
    (process,) = killed
    assert process._process.exitcode == -9


def test_nothing_to_do_starts_no_process() -> None:
    assert list(make_engine(2).run([])) == []


def test_the_number_of_jobs_decides() -> None:
    assert isinstance(make_engine(1), SerialEngine)
    assert isinstance(make_engine(2), ProcessEngine)
    assert type(make_engine()) is (SerialEngine if cores() == 1 else ProcessEngine)
    with pytest.raises(InvalidInputError, match="--jobs 0 is too few"):
        make_engine(0)


def test_ray_is_asked_for_by_its_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(MissingDependencyError, match=r"pip install 'dmic_gym\[ray\]'"):
        make_engine(ray="local")
    assert issubclass(MissingDependencyError, DmicError)


@pytest.mark.slow
@pytest.mark.skipif(importlib.util.find_spec("ray") is None, reason="no Ray")
@pytest.mark.filterwarnings("default")  # of Ray's own
def test_ray_gives_what_processes_give(tmp_path: Path) -> None:
    expected = swept_by(make_engine(2), tmp_path / "process", **NETWORKS)
    found = swept_by(make_engine(2, "local"), tmp_path / "ray", **NETWORKS)
    assert len(found) == 18
    assert_same(found, expected)


@pytest.mark.slow
@pytest.mark.skipif(importlib.util.find_spec("ray") is None, reason="no Ray")
@pytest.mark.filterwarnings("default")
@pytest.mark.usefixtures("harm")
def test_a_ray_task_that_dies_costs_the_cell_it_was_at(tmp_path: Path) -> None:
    definition = small(agents=["tests.bench.sweeping:KillsItsWorker"])
    run_into(tmp_path / "out", definition, make_engine(1, "local"))
    with Store.open(tmp_path / "out") as store:
        assert len(store.done()) == 11
        (failed,) = store.failures()
    assert "died" in (failed.error or "")
