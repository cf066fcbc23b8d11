from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from dmic_gym.bench.html.document import Document, make_document
from dmic_gym.bench.html.report_data import ReportData, read_report_data
from dmic_gym.bench.store import Store
from tests.bench.sweeping import swept

SWEEP: dict[str, Any] = {
    "data": ["phantoms?count=4&size=96"],
    "agents": ["anchor", "roi", "oracle"],
    "base_qps": {"standard": [22, 27, 32, 37], "low_rate": [32, 37, 42]},
    "codecs": ["x265", "jpeg"],
    "second": "tests.support:vesselness",
}


@pytest.fixture(scope="package")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished sweep of 84 cells."""
    folder = tmp_path_factory.mktemp("swept")
    swept(folder, **SWEEP)
    return folder


@pytest.fixture(scope="package")
def data(store: Path) -> ReportData:
    with Store.open(store) as opened:
        return read_report_data(opened)


@pytest.fixture(scope="package")
def document(data: ReportData) -> Document:
    return make_document(data)
