from __future__ import annotations

from itertools import product
from pathlib import Path
from typing import Any

import pytest

from dmic_gym.bench.cells import Only
from dmic_gym.bench.definition import Definition
from dmic_gym.bench.plan import make_plan
from dmic_gym.bench.protocol import ANCHOR, RIVAL
from dmic_gym.errors import DmicError, InvalidInputError
from tests.bench.records import record
from tests.bench.sweeping import run_into, small, toml
from tests.support import ROOT


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"agnets": ["roi"]}, "Unknown key 'agnets'. Did you mean 'agents'"),
        ({"data": "phantoms"}, r'data = \["\$DMIC_DATA/angiograms/test"\]'),
        ({"data": ["phantom"]}, "Did you mean 'phantoms'"),
        ({"data": ["phantoms?cuont=2"]}, "Did you mean 'count'"),
        ({"data": ["$NOT_SET_HERE/x"]}, "NOT_SET_HERE is not set. Type: export NOT_SET_HERE="),
        ({"agents": ["ancor"]}, "Did you mean 'anchor'"),
        ({"agents": []}, r'type agents = \["anchor"'),
        ({"base_qps": ["22"]}, r"type custom = \[22, 27, 32, 37\]"),
        ({"base_qps": [60]}, "Nearest: 51"),
        ({"ctu_sizes": [48]}, "Nearest: "),
        ({"presets": ["fastest"]}, "Unknown x265 preset 'fastest'. Did you mean"),
        ({"codecs": ["jpg"]}, "Unknown codec 'jpg'. Did you mean 'jpeg'"),
        ({"codecs": ["x256"]}, "Did you mean 'x265'"),
        ({"qualities": [3]}, "type .qualities. and below it jpeg = "),
        ({"qualities": {"jpegg": [3]}}, "Unknown codec 'jpegg'"),
        ({"compare": "roi"}, r'compare = \["roi"\]'),
        ({"seeds": [0.5]}, r"type seeds = \[0, 1\]"),
        ({"images": 0}, "type a number of 1 or more"),
        ({"segmenter": 3}, 'type segmenter = "unet"'),
        ({"segmenter": "unett"}, "Unknown segmenter 'unett'. Did you mean 'unet'"),
    ],
)
def test_what_is_not_valid_is_refused_with_what_to_type(
    changes: dict[str, Any], words: str
) -> None:
    with pytest.raises(DmicError, match=words):
        make_plan(small(**changes))


def test_a_file_that_is_no_definition_is_refused(dmic: Any, tmp_path: Path) -> None:
    assert "benchmarks/quick.toml" in dmic("sweep", tmp_path / "no.toml")[2]
    (tmp_path / "bad.toml").write_text("agents = ")
    assert "bad.toml is no TOML" in dmic("sweep", tmp_path / "bad.toml")[2]
    (tmp_path / "empty.toml").write_text("")
    assert 'data is missing: type data = ["phantoms' in dmic("sweep", tmp_path / "empty.toml")[2]
    code, _, err = dmic("sweep", toml(tmp_path, agnets=["roi"]))
    assert code == 2
    assert "small.toml: Unknown key 'agnets'" in err


SWEEPS = [p.stem for p in (ROOT / "benchmarks").glob("*.toml") if "dmic sweep" in p.read_text()]


@pytest.mark.parametrize("name", SWEEPS)
def test_the_shipped_definitions_are_valid(name: str) -> None:
    definition = Definition.read(ROOT / "benchmarks" / f"{name}.toml")
    cells = list(definition.cells(definition.data[0], "01"))
    assert len(set(cells)) == len(cells)
    assert set(definition.compare) - {RIVAL} <= set(definition.agents)
    encoders = {cell.encoder for cell in cells if not cell.is_still}
    for agent in {ANCHOR, *definition.agents}:
        coded = [(cell.encoder, cell.base_qp) for cell in cells if cell.agent == agent]
        assert sorted(coded) == sorted(product(encoders, definition.all_base_qps))


def test_still_codecs_stand_beside_the_agents_without_axes_of_theirs() -> None:
    definition = small(
        codecs=["x265", "jpeg"], ctu_sizes=[64, 32], seeds=[0, 1], qualities={"jpeg": [10, 90]}
    )
    stills = [cell for cell in definition.cells("phantoms", "a") if cell.is_still]
    assert [(cell.codec, cell.agent, cell.quality) for cell in stills] == [
        ("jpeg", "constant", 10),
        ("jpeg", "constant", 90),
    ]


@pytest.mark.parametrize(
    ("pattern", "chosen"),
    [
        ("agent=anchor", True),
        ("agent=anchor,base_qp=32", True),
        ("agent=anchor,base_qp=22", False),
        ("anch*", True),
        ("32", True),
        ("base_qp=3?", True),
        ("roi", False),
    ],
)
def test_only(pattern: str, chosen: bool) -> None:
    assert Only(pattern)(record("a", 32).cell) is chosen


def test_only_says_what_it_knows(tmp_path: Path) -> None:
    with pytest.raises(InvalidInputError, match="Did you mean 'agent'"):
        Only("agnet=roi")
    with pytest.raises(InvalidInputError, match="--only 'agent="):
        Only(" , ")
    with pytest.raises(
        InvalidInputError, match=r"No cell matches --only\. One of the 12 is: data="
    ):
        run_into(tmp_path, small(), only=Only("agent=oracle"))


def test_a_task_stands_for_its_images_and_networks() -> None:
    found = Definition.of({"task": "phantoms", "images": 2})
    assert (found.data, found.segmenter) == (("phantoms?count=100&seed=1",), "unet")
    assert found.second == "second"
    own = Definition.of({"task": "phantoms", "segmenter": "tests.support:vesselness"})
    assert (own.segmenter, own.second) == ("tests.support:vesselness", "")
    assert Definition.of(found.as_dict() | {"base_qps": [22, 27, 32]}).second == "second"
    with pytest.raises(InvalidInputError, match="Did you mean 'phantoms'"):
        Definition.of({"task": "phantom"})


def test_strict_refuses_a_policy_trained_for_another_ctu_size() -> None:
    definition = small(agents=["hrlvsc"], ctu_sizes=[32], images=1)
    with pytest.raises(InvalidInputError, match="CTU 64"):
        make_plan(definition, strict=True)
