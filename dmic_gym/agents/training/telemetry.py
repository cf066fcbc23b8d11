"""Memory, utilisation and energy of the GPU over a run, for logs and cards."""

from __future__ import annotations

import threading
import time
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field
from typing import Any, Self

import pynvml
from stable_baselines3.common.callbacks import BaseCallback

from dmic_gym.agents.training.gpu import describe_gpu, open_gpu

NO_GPU = "no GPU"


@dataclass(frozen=True)
class Telemetry:
    """What a GPU did over a run; the figures are the whole GPU's, other processes included.

    Attributes:
        gpu: name, memory and driver, or "no GPU"; then the figures below are None.
        seconds: wall time of the run.
        peak_bytes: most memory in use at a sample.
        utilisation: mean over the samples of the share of time that a kernel ran, 0..1.
        joules: energy, None if the GPU does not count it.
        samples: number of samples.
    """

    gpu: str = NO_GPU
    seconds: float = 0.0
    peak_bytes: int | None = None
    utilisation: float | None = None
    joules: float | None = None
    samples: int = 0

    def as_json(self) -> dict[str, Any]:
        """Return plain JSON values for a card."""
        return asdict(self)

    def __str__(self) -> str:
        if self.peak_bytes is None or self.utilisation is None:
            return f"{self.gpu}, {self.seconds:.1f} s"
        energy = "energy not counted" if self.joules is None else f"{self.joules:.0f} J"
        return (
            f"{self.gpu}: peak {self.peak_bytes / 2**20:.0f} MiB, utilisation "
            f"{self.utilisation:.0%}, {energy} in {self.seconds:.1f} s"
        )


@dataclass
class _Run:
    """What is known of a run so far."""

    gpu: str = NO_GPU
    began: float = field(default_factory=time.monotonic)
    ended: float | None = None
    peak: int = 0
    busy: float = 0.0
    samples: int = 0
    first_joules: float | None = None
    last_joules: float | None = None

    def telemetry(self) -> Telemetry:
        seconds = (time.monotonic() if self.ended is None else self.ended) - self.began
        if not self.samples:
            return Telemetry(self.gpu, seconds)
        first, last = self.first_joules, self.last_joules
        joules = None if first is None or last is None else last - first
        mean = self.busy / self.samples
        return Telemetry(self.gpu, seconds, self.peak, mean, joules, self.samples)


class GpuMonitor:
    """Watch the GPU that CUDA uses first: ``with GpuMonitor() as monitor: model.learn(...)``.

    A thread takes a sample every `interval` seconds. Without GPU or driver there is no thread
    and `telemetry` says "no GPU". Can be entered again for another run.

    Args:
        interval: seconds between samples.
        nvml: the NVML binding, the module `pynvml` or one like it.
    """

    def __init__(self, interval: float = 0.5, nvml: Any = pynvml) -> None:
        self._interval = interval
        self._nvml = nvml
        self._stack = ExitStack()
        self._lock = threading.Lock()
        self._over = threading.Event()
        self._gpu: Any = None
        self._run = _Run()

    def __enter__(self) -> Self:
        self._over.clear()
        self._gpu = self._stack.enter_context(open_gpu(self._nvml))
        self._run = _Run()
        if self._gpu is not None:
            self._run.gpu = describe_gpu(self._gpu, self._nvml) or "GPU of unknown name"
            self._run.first_joules = self._joules()
            self.sample()
            thread = threading.Thread(target=self._watch, name="gpu-monitor", daemon=True)
            thread.start()
            self._stack.callback(thread.join)
        return self

    def __exit__(self, *_: object) -> None:
        self.sample()
        self._run.ended = time.monotonic()
        self._over.set()
        self._stack.close()
        self._gpu = None

    @property
    def telemetry(self) -> Telemetry:
        """The figures so far, or of the whole run once it is over."""
        with self._lock:
            return self._run.telemetry()

    def sample(self) -> None:
        """Take a sample now; harmless where there is no GPU."""
        if self._gpu is None:
            return
        with self._lock:
            try:
                used = int(self._nvml.nvmlDeviceGetMemoryInfo(self._gpu).used)
                busy = self._nvml.nvmlDeviceGetUtilizationRates(self._gpu).gpu / 100.0
            except self._nvml.NVMLError:
                return
            self._run.peak = max(self._run.peak, used)
            self._run.busy += busy
            self._run.samples += 1
            self._run.last_joules = self._joules()

    def _watch(self) -> None:
        while not self._over.wait(self._interval):
            self.sample()

    def _joules(self) -> float | None:
        try:
            return float(self._nvml.nvmlDeviceGetTotalEnergyConsumption(self._gpu)) / 1000.0
        except self._nvml.NVMLError:
            return None


class TelemetryCallback(BaseCallback):
    """Log the GPU's name, or "no GPU", once and its figures at every rollout, as ``gpu/...``.

    Args:
        monitor: a running `GpuMonitor`.
    """

    def __init__(self, monitor: GpuMonitor) -> None:
        super().__init__()
        self.monitor = monitor

    def _on_training_start(self) -> None:
        self.logger.record("gpu/name", self.monitor.telemetry.gpu, exclude="csv")

    def _on_step(self) -> bool:
        return True

    def _on_rollout_end(self) -> None:
        figures = self.monitor.telemetry
        if figures.peak_bytes is not None:
            self.logger.record("gpu/peak_mib", figures.peak_bytes / 2**20)
            self.logger.record("gpu/utilisation", figures.utilisation)
        if figures.joules is not None:
            self.logger.record("gpu/joules", figures.joules)
