"""What NVML knows of the GPU, where there is one."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pynvml


def gpu_name() -> str | None:
    """Return name, memory and driver of the GPU that is used, or None where there is none."""
    with open_gpu() as handle:
        return None if handle is None else describe_gpu(handle)


def describe_gpu(handle: Any, nvml: Any = pynvml) -> str | None:
    """Return name, memory and driver of a GPU, None if it does not answer."""
    try:
        gigabytes = nvml.nvmlDeviceGetMemoryInfo(handle).total / 2**30
        name, driver = nvml.nvmlDeviceGetName(handle), nvml.nvmlSystemGetDriverVersion()
    except nvml.NVMLError:
        return None
    return f"{name}, {gigabytes:.0f} GiB, driver {driver}"


@contextmanager
def open_gpu(nvml: Any = pynvml) -> Iterator[Any]:
    """Open NVML and yield the handle of the GPU that CUDA uses first; None where there is none.

    That is the first of ``CUDA_VISIBLE_DEVICES``, by number (in PCI order) or UUID, or GPU 0.
    """
    try:
        nvml.nvmlInit()
    except nvml.NVMLError:
        yield None
        return
    try:
        yield _first(nvml)
    finally:
        nvml.nvmlShutdown()


def _first(nvml: Any) -> Any:
    visible = os.environ.get("CUDA_VISIBLE_DEVICES", "0").split(",")[0].strip()
    try:
        if visible.isdecimal():
            return nvml.nvmlDeviceGetHandleByIndex(int(visible))
        return nvml.nvmlDeviceGetHandleByUUID(visible) if len(visible) > 2 else None
    except nvml.NVMLError:
        return None
