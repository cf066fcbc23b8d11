from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings

from dmic_gym import cli
from dmic_gym.codecs.hevc import encoder_pool
from dmic_gym.codecs.hevc.encoder_pool import EncoderPool, KeptEncoder, process_pool
from dmic_gym.codecs.hevc.pool import IdlePool
from dmic_gym.envs.coding_env import CodingEnv
from tests.support import ROOT, small_env

os.environ.setdefault("OMP_NUM_THREADS", "1")  # small tensors gain nothing from threads

settings.register_profile(
    "project", deadline=None, suppress_health_check=[HealthCheck.too_slow], derandomize=True
)
settings.load_profile("project")


@pytest.fixture
def env() -> Iterator[CodingEnv]:
    """Three phantoms of 130x130 at CTU 64: nine steps an episode."""
    made = small_env()
    yield made
    made.close()


@pytest.fixture
def fresh_pool(monkeypatch: pytest.MonkeyPatch) -> EncoderPool:
    """No encoder of an earlier test is open."""
    pool: EncoderPool = IdlePool(KeptEncoder)
    monkeypatch.setattr(encoder_pool, "_pool", pool)
    assert process_pool() is pool
    return pool


@pytest.fixture
def dmic(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Any:
    """Run the command in an empty folder; return exit code, output and errors."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [str(ROOT), *sys.path])

    def run(*arguments: object) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["dmic", *map(str, arguments)])
        with pytest.raises(SystemExit) as caught:
            cli.main()
        out, err = capsys.readouterr()
        code = caught.value.code
        return (code if isinstance(code, int) else 0), out, err

    return run


@pytest.fixture
def program(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Any:
    """Run a program of the benchmarks in an empty folder, if with arguments; return its module."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [str(ROOT), *sys.path])

    def run(name: str, *arguments: object) -> Any:
        module = importlib.import_module(name)
        if arguments:
            monkeypatch.setattr(sys, "argv", [name, *map(str, arguments)])
            module.main()
        return module

    return run
