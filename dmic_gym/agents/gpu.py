"""What NVML knows of the GPU, where there is one."""

from __future__ import annotations

import pynvml


def gpu_name() -> str | None:
    """Return name, memory and driver of the first NVIDIA GPU, or None where there is none."""
    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError:
        return None
    try:
        handle = pynvml.nvmlDeviceGetHandleByIndex(0)
        gigabytes = pynvml.nvmlDeviceGetMemoryInfo(handle).total / 2**30
        name, driver = pynvml.nvmlDeviceGetName(handle), pynvml.nvmlSystemGetDriverVersion()
        return f"{name}, {gigabytes:.0f} GiB, driver {driver}"
    except pynvml.NVMLError:
        return None
    finally:
        pynvml.nvmlShutdown()
