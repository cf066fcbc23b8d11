from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pynvml
import pytest

from dmic_gym.agents.training.gpu import gpu_name


def failing(*_: Any) -> None:
    raise pynvml.NVMLError(pynvml.NVML_ERROR_LIBRARY_NOT_FOUND)


def test_without_a_driver_there_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pynvml, "nvmlInit", failing)
    assert gpu_name() is None


def test_a_driver_without_a_device_is_none_and_is_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    closed = []
    monkeypatch.setattr(pynvml, "nvmlInit", lambda: None)
    monkeypatch.setattr(pynvml, "nvmlDeviceGetHandleByIndex", failing)
    monkeypatch.setattr(pynvml, "nvmlShutdown", lambda: closed.append(True))
    assert gpu_name() is None
    assert closed == [True]


def test_what_nvml_says(monkeypatch: pytest.MonkeyPatch) -> None:
    answers = {
        "nvmlInit": None,
        "nvmlShutdown": None,
        "nvmlDeviceGetHandleByIndex": "handle",
        "nvmlDeviceGetMemoryInfo": SimpleNamespace(total=80 * 2**30),
        "nvmlDeviceGetName": "Some GPU",
        "nvmlSystemGetDriverVersion": "575.1",
    }
    for name, answer in answers.items():
        monkeypatch.setattr(pynvml, name, lambda *_, answer=answer: answer)
    assert gpu_name() == "Some GPU, 80 GiB, driver 575.1"
