"""The notebooks run from top to bottom with a small budget."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.support import ROOT

pytestmark = pytest.mark.slow

nbclient = pytest.importorskip("nbclient", reason="needs dmic_gym[docs]")
nbformat = pytest.importorskip("nbformat", reason="needs dmic_gym[docs]")

BUDGETS = {
    "train_and_bench": "STEPS, IMAGES = 16, 2",
    "one_sample": "EPOCHS, WARM_START, STEPS = 1, 1, 32",
}


@pytest.mark.parametrize("name", BUDGETS)
def test_it_runs(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    notebook: Any = nbformat.read(ROOT / "docs" / "notebooks" / f"{name}.ipynb", as_version=4)
    budget, *_ = (cell for cell in notebook.cells if cell.cell_type == "code")
    budget.source = BUDGETS[name]
    here = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    monkeypatch.setenv("PATH", here)
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    client = nbclient.NotebookClient(
        notebook, timeout=1800, resources={"metadata": {"path": str(tmp_path)}}
    )
    client.execute()
    printed = "".join(
        output.get("text", "")
        for cell in notebook.cells
        for output in cell.get("outputs", ())
        if output.output_type == "stream"
    )
    assert "Error:" not in printed
    assert "Traceback" not in printed
