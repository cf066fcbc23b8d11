"""Memory, utilisation and energy of the GPU over a run, by NVML, for logs and cards."""

from __future__ import annotations

import os
import threading
import time
from dataclasses import dataclass
from typing import Any, Self

import pynvml

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

    def __str__(self) -> str:
        if self.peak_bytes is None or self.utilisation is None:
            return f"{self.gpu}, {self.seconds:.1f} s"
        energy = "energy not counted" if self.joules is None else f"{self.joules:.0f} J"
        return (
            f"{self.gpu}: peak {self.peak_bytes / 2**20:.0f} MiB, utilisation "
            f"{self.utilisation:.0%}, {energy} in {self.seconds:.1f} s"
        )


class GpuMonitor:
    """Watch the GPU that CUDA uses first: ``with GpuMonitor() as monitor: model.learn(...)``.

    A thread takes a sample every `interval` seconds, where there is a GPU.
    """

    def __init__(self, interval: float = 0.5) -> None:
        self._interval = interval
        self._gpu, self._name = _first_gpu(), gpu_name() or NO_GPU
        self._samples: list[tuple[int, float, float | None]] = []
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="gpu-monitor", daemon=True)
        self._began, self._ended = time.monotonic(), 0.0

    def __enter__(self) -> Self:
        self._sample()
        if self._gpu is not None:
            self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        if self._gpu is not None:
            self._thread.join()
        self._sample()
        self._ended = time.monotonic()

    @property
    def telemetry(self) -> Telemetry:
        """The figures so far, or of the whole run once it is over."""
        seconds = (self._ended or time.monotonic()) - self._began
        if not (samples := list(self._samples)):
            return Telemetry(self._name, seconds)
        peak, busy = max(s[0] for s in samples), sum(s[1] for s in samples) / len(samples)
        first, last = samples[0][2], samples[-1][2]
        joules = None if first is None or last is None else last - first
        return Telemetry(self._name, seconds, peak, busy, joules, len(samples))

    def _watch(self) -> None:
        while not self._over.wait(self._interval):
            self._sample()

    def _sample(self) -> None:
        used, busy = _asked("MemoryInfo", self._gpu), _asked("UtilizationRates", self._gpu)
        millijoules = _asked("TotalEnergyConsumption", self._gpu)
        if used is not None and busy is not None:
            joules = None if millijoules is None else millijoules / 1000.0
            self._samples.append((int(used.used), busy.gpu / 100.0, joules))


def gpu_name() -> str | None:
    """Return name, memory and driver of the GPU that is used, or None where there is none."""
    memory, name = _asked("MemoryInfo", _first_gpu()), _asked("Name", _first_gpu())
    if memory is None or name is None:
        return None
    return f"{name}, {memory.total / 2**30:.0f} GiB, driver {pynvml.nvmlSystemGetDriverVersion()}"


def _first_gpu() -> Any:
    """Return the handle of the first of ``CUDA_VISIBLE_DEVICES``, a number or UUID, or of GPU 0."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES", "0").split(",")[0].strip()
    try:
        pynvml.nvmlInit()
        if visible.isdecimal():
            return pynvml.nvmlDeviceGetHandleByIndex(int(visible))
        return pynvml.nvmlDeviceGetHandleByUUID(visible) if len(visible) > 2 else None
    except pynvml.NVMLError:
        return None


def _asked(what: str, gpu: Any) -> Any:
    """Return what NVML says of a GPU, None where it does not answer."""
    try:
        return None if gpu is None else getattr(pynvml, f"nvmlDeviceGet{what}")(gpu)
    except pynvml.NVMLError:
        return None
