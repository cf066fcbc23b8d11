from __future__ import annotations

import sys
from collections.abc import Iterator
from functools import partial
from typing import Any

import pytest

from dmic_gym import cli
from dmic_gym.bench import summary
from dmic_gym.bench.bdrate import bootstrap_bd_rate


@pytest.fixture(scope="package", autouse=True)
def few_resamples() -> Iterator[None]:
    """Bootstrap with 50 resamples instead of 1000: test_bdrate.py tests the intervals."""
    with pytest.MonkeyPatch.context() as patch:
        few = partial(bootstrap_bd_rate, n_resamples=50)
        patch.setattr(summary, "bootstrap_bd_rate", few)
        yield


@pytest.fixture
def dmic(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Any:
    """Run the command in this process; return exit code, output and errors."""

    def run(*arguments: object) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["dmic", *map(str, arguments)])
        with pytest.raises(SystemExit) as caught:
            cli.main()
        return int(caught.value.code or 0), *capsys.readouterr()

    return run
