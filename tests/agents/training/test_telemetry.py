from __future__ import annotations

import json
import threading
from collections.abc import Callable
from dataclasses import asdict
from types import SimpleNamespace
from typing import Any

import pynvml
import pytest
import torch
from stable_baselines3.common.logger import Logger

from dmic_gym.agents.training import telemetry
from dmic_gym.agents.training.progress import TelemetryCallback
from dmic_gym.agents.training.telemetry import GpuMonitor, Telemetry, gpu_name
from tests.agents.policies import small_model
from tests.agents.policy.test_freeze import Kept


class FakeNvml:
    """Counts calls; each sample finds 1 GiB more and 10 % more use, and 250 J were spent."""

    class NVMLError(Exception):
        pass

    def __init__(self, *broken: str) -> None:
        self.broken = broken
        self.samples = 0
        self.enough = threading.Event()
        self.asked: list[Any] = []

    def __getattribute__(self, name: str) -> Any:
        if name.startswith("nvml") and name in self.broken:
            raise self.NVMLError(name)
        return super().__getattribute__(name)

    def nvmlInit(self) -> None:
        pass

    def nvmlDeviceGetHandleByIndex(self, index: int) -> str:
        self.asked.append(index)
        return f"gpu {index}"

    def nvmlDeviceGetHandleByUUID(self, uuid: str) -> str:
        self.asked.append(uuid)
        return uuid

    def nvmlDeviceGetName(self, handle: str) -> str:
        return f"Fake {handle}"

    def nvmlSystemGetDriverVersion(self) -> str:
        return "1.0"

    def nvmlDeviceGetMemoryInfo(self, handle: str) -> SimpleNamespace:
        return SimpleNamespace(used=(self.samples % 3 + 1) << 30, total=80 << 30)

    def nvmlDeviceGetUtilizationRates(self, handle: str) -> SimpleNamespace:
        self.samples += 1
        if self.samples >= 4:
            self.enough.set()
        return SimpleNamespace(gpu=10 * self.samples)

    def nvmlDeviceGetTotalEnergyConsumption(self, handle: str) -> int:
        return 1_000_000 + 250_000 * self.samples


HOUR = 3600.0
Fake = Callable[..., FakeNvml]


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> Fake:
    """Put a GPU in place, some of whose functions are broken."""

    def make(*broken: str) -> FakeNvml:
        nvml = FakeNvml(*broken)
        monkeypatch.setattr(telemetry, "pynvml", nvml)
        return nvml

    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    return make


def threads() -> list[str]:
    return [thread.name for thread in threading.enumerate()]


def test_figures_of_a_run(fake: Fake) -> None:
    nvml = fake()
    with GpuMonitor(1e-4) as monitor:
        assert nvml.enough.wait(20)
        assert "gpu-monitor" in threads()
    assert "gpu-monitor" not in threads()
    found = monitor.telemetry
    count = found.samples
    assert count == nvml.samples >= 4
    assert found.gpu == gpu_name() == "Fake gpu 0, 80 GiB, driver 1.0"
    assert (found.peak_bytes, found.joules) == (3 << 30, 250.0 * (count - 1))
    assert found.utilisation == pytest.approx(0.1 * (count + 1) / 2)
    assert f"peak 3072 MiB, utilisation {found.utilisation:.0%}, {found.joules:.0f} J in" in str(
        found
    )
    assert Telemetry(**json.loads(json.dumps(asdict(found)))) == found
    assert monitor.telemetry == found, "the clock stopped"


def test_a_short_run_has_a_sample_at_either_end(fake: Fake) -> None:
    fake()
    with pytest.raises(ZeroDivisionError), GpuMonitor(HOUR) as monitor:
        raise ZeroDivisionError
    assert monitor.telemetry.samples == 2
    assert monitor.telemetry.joules == 250.0
    assert "gpu-monitor" not in threads()


@pytest.mark.parametrize("broken", ["nvmlInit", "nvmlDeviceGetHandleByIndex"])
def test_no_gpu(broken: str, fake: Fake) -> None:
    fake(broken)
    assert gpu_name() is None
    with GpuMonitor(HOUR) as monitor:
        assert "gpu-monitor" not in threads()
    found = monitor.telemetry
    assert found == Telemetry(seconds=found.seconds)
    assert str(found) == f"no GPU, {found.seconds:.1f} s"


def test_a_gpu_that_does_not_count_energy(fake: Fake) -> None:
    fake("nvmlDeviceGetTotalEnergyConsumption")
    with GpuMonitor(HOUR) as monitor:
        pass
    assert monitor.telemetry.joules is None
    assert "energy not counted" in str(monitor.telemetry)


def test_a_driver_that_stops_answering(fake: Fake) -> None:
    nvml = fake()
    with GpuMonitor(HOUR) as monitor:
        nvml.broken = ("nvmlDeviceGetMemoryInfo",)
    assert monitor.telemetry.samples == 1


@pytest.mark.parametrize(
    ("visible", "asked"), [("2,0", 2), ("GPU-abc", "GPU-abc"), ("", None), ("-1", None), (None, 0)]
)
def test_the_gpu_that_cuda_uses(
    visible: str | None, asked: Any, fake: Fake, monkeypatch: pytest.MonkeyPatch
) -> None:
    nvml = fake()
    if visible is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    assert (gpu_name() is None) == (asked is None)
    assert set(nvml.asked) == ({asked} - {None})


def test_the_log_has_the_figures_at_every_rollout(fake: Fake) -> None:
    fake()
    model, kept = small_model(), Kept()
    model.set_logger(Logger(None, [kept]))
    with GpuMonitor(HOUR) as monitor:
        model.learn(16, TelemetryCallback(monitor), log_interval=1)
    assert [line["gpu/peak_mib"] for line in kept.values] == [1024.0, 1024.0]
    assert kept.values[0]["gpu/joules"] == 0.0
    assert kept.values[0]["gpu/utilisation"] == pytest.approx(0.1)


def test_the_log_says_that_there_is_no_gpu(fake: Fake) -> None:
    fake("nvmlInit")
    model, kept = small_model(), Kept()
    model.set_logger(Logger(None, [kept]))
    with GpuMonitor(HOUR) as monitor:
        model.learn(8, TelemetryCallback(monitor), log_interval=1)
    said = [{k: v for k, v in line.items() if k.startswith("gpu/")} for line in kept.values]
    assert said == [{"gpu/name": "no GPU"}]


def test_here() -> None:
    """With the real NVML, whatever this machine has."""
    with GpuMonitor(HOUR) as monitor:
        if torch.cuda.is_available():
            torch.ones(1 << 24, device="cuda").sum().item()
    found = monitor.telemetry
    if gpu_name() is None:
        assert found == Telemetry(seconds=found.seconds)
    else:
        assert found.gpu == gpu_name()
        assert found.peak_bytes is not None
        assert found.peak_bytes > 0
        assert found.joules is None or found.joules >= 0
    assert issubclass(pynvml.NVMLError, Exception)
