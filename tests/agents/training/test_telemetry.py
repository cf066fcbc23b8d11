from __future__ import annotations

import json
import threading
from types import SimpleNamespace
from typing import Any

import pynvml
import pytest
import torch
from stable_baselines3.common.logger import Logger

from dmic_gym.agents.training.gpu import gpu_name, open_gpu
from dmic_gym.agents.training.telemetry import GpuMonitor, Telemetry, TelemetryCallback
from tests.agents.policies import small_model
from tests.agents.policy.test_freeze import Kept


class FakeNvml:
    """Counts calls; each sample finds 1 GiB more and 10 % more use, and 250 J were spent."""

    class NVMLError(Exception):
        pass

    def __init__(self, *broken: str) -> None:
        self.broken = broken
        self.samples = 0
        self.open = 0
        self.enough = threading.Event()
        self.asked: list[Any] = []

    def __getattribute__(self, name: str) -> Any:
        if name.startswith("nvml") and name in self.broken:
            raise self.NVMLError(name)
        return super().__getattribute__(name)

    def nvmlInit(self) -> None:
        self.open += 1

    def nvmlShutdown(self) -> None:
        self.open -= 1

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


def test_figures_of_a_run() -> None:
    nvml = FakeNvml()
    with GpuMonitor(HOUR, nvml) as monitor:
        for _ in range(2):
            monitor.sample()
        assert monitor.telemetry.samples == 3
        assert nvml.open == 1
    found = monitor.telemetry
    assert nvml.open == 0
    assert found.gpu == "Fake gpu 0, 80 GiB, driver 1.0"
    assert (found.samples, found.peak_bytes, found.joules) == (4, 3 << 30, 1000.0)
    assert found.utilisation == pytest.approx(0.25)
    assert "peak 3072 MiB, utilisation 25%, 1000 J in" in str(found)
    assert json.loads(json.dumps(found.as_json())) == found.as_json()
    assert monitor.telemetry == found, "the clock stopped"


def test_a_thread_takes_samples_and_ends() -> None:
    nvml = FakeNvml()
    with GpuMonitor(1e-4, nvml) as monitor:
        assert nvml.enough.wait(20)
        assert "gpu-monitor" in [thread.name for thread in threading.enumerate()]
    assert "gpu-monitor" not in [thread.name for thread in threading.enumerate()]
    assert monitor.telemetry.samples >= 4


@pytest.mark.parametrize("broken", ["nvmlInit", "nvmlDeviceGetHandleByIndex"])
def test_no_gpu(broken: str) -> None:
    nvml = FakeNvml(broken)
    with GpuMonitor(HOUR, nvml) as monitor:
        monitor.sample()
        assert "gpu-monitor" not in [thread.name for thread in threading.enumerate()]
    found = monitor.telemetry
    assert nvml.open == 0
    assert (found.gpu, found.peak_bytes, found.joules, found.samples) == ("no GPU", None, None, 0)
    assert str(found) == f"no GPU, {found.seconds:.1f} s"


def test_a_gpu_that_does_not_count_energy() -> None:
    with GpuMonitor(HOUR, FakeNvml("nvmlDeviceGetTotalEnergyConsumption")) as monitor:
        pass
    assert monitor.telemetry.joules is None
    assert "energy not counted" in str(monitor.telemetry)


def test_a_driver_that_stops_answering() -> None:
    nvml = FakeNvml()
    with GpuMonitor(HOUR, nvml) as monitor:
        nvml.broken = ("nvmlDeviceGetMemoryInfo",)
        monitor.sample()
    assert monitor.telemetry.samples == 1


def test_the_monitor_ends_with_an_error_and_can_start_again() -> None:
    nvml = FakeNvml()
    monitor = GpuMonitor(1e-4, nvml)
    with pytest.raises(ZeroDivisionError), monitor:
        raise ZeroDivisionError
    assert nvml.open == 0
    before = monitor.telemetry.samples
    with monitor:
        pass
    assert monitor.telemetry.samples >= 2
    assert before >= 2
    assert nvml.open == 0


@pytest.mark.parametrize(
    ("visible", "asked"),
    [("2,0", [2]), ("GPU-abc", ["GPU-abc"]), ("", []), ("-1", []), (None, [0])],
)
def test_the_gpu_that_cuda_uses(
    visible: str | None, asked: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    if visible is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    nvml = FakeNvml()
    with open_gpu(nvml) as handle:
        assert (handle is None) == (not asked)
    assert nvml.asked == asked


def test_the_log_has_the_figures_at_every_rollout() -> None:
    model, kept = small_model(), Kept()
    model.set_logger(Logger(None, [kept]))
    with GpuMonitor(HOUR, FakeNvml()) as monitor:
        model.learn(16, TelemetryCallback(monitor), log_interval=1)
    assert [line["gpu/peak_mib"] for line in kept.values] == [1024.0, 1024.0]
    assert kept.values[0]["gpu/joules"] == 250.0
    assert kept.values[0]["gpu/utilisation"] == pytest.approx(0.1)


def test_the_log_says_that_there_is_no_gpu() -> None:
    model, kept = small_model(), Kept()
    model.set_logger(Logger(None, [kept]))
    with GpuMonitor(HOUR, FakeNvml("nvmlInit")) as monitor:
        model.learn(8, TelemetryCallback(monitor), log_interval=1)
    said = [{k: v for k, v in line.items() if k.startswith("gpu/")} for line in kept.values]
    assert said == [{"gpu/name": "no GPU"}]


def test_here() -> None:
    """With the real NVML, whatever this machine has."""
    with GpuMonitor(HOUR) as monitor:
        if torch.cuda.is_available():
            torch.ones(1 << 24, device="cuda").sum().item()
            monitor.sample()
    found = monitor.telemetry
    if gpu_name() is None:
        assert found == Telemetry(seconds=found.seconds)
    else:
        assert found.gpu == gpu_name()
        assert found.peak_bytes is not None
        assert found.peak_bytes > 0
        assert found.joules is None or found.joules >= 0
    assert issubclass(pynvml.NVMLError, Exception)
