from __future__ import annotations

import platform

import numpy as np

from dmic_gym.versions import versions_of


def test_versions() -> None:
    assert versions_of(["numpy", "no-such-package"]) == {
        "python": platform.python_version(),
        "numpy": np.__version__,
        "no-such-package": "not installed",
    }
