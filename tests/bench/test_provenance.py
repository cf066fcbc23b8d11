from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from dmic_gym.bench import provenance as identity_module
from dmic_gym.bench.plan import make_plan
from dmic_gym.bench.provenance import acting_sha256, provenance
from dmic_gym.bench.rows import identity
from dmic_gym.bench.workbench import workbench
from dmic_gym.tasks.data.sample import Sample
from tests.agents.policies import small_model
from tests.bench.sweeping import small
from tests.support import phantoms


@pytest.fixture(scope="module")
def planned() -> dict[str, Any]:
    """The provenance of one cell."""
    return make_plan(small(images=1)).cells[0].provenance


def leaves(tree: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The paths of all values in nested dictionaries and lists."""
    items = tree.items() if isinstance(tree, dict) else enumerate(tree)
    for key, value in items:
        if isinstance(value, dict | list) and value:
            yield from leaves(value, (*path, key))
        else:
            yield (*path, key)


@given(data=st.data())
def test_whatever_influence_changes_the_identity_changes(
    planned: dict[str, Any], data: st.DataObject
) -> None:
    before = planned
    path = data.draw(st.sampled_from(list(leaves(before))))
    changed = json.loads(json.dumps(before))
    place = changed
    for key in path[:-1]:
        place = place[key]
    place[path[-1]] = data.draw(
        (st.integers(-99, 99) | st.text(max_size=9)).filter(lambda value: value != place[path[-1]])
    )
    assert identity(changed) != identity(before)
    assert identity(json.loads(json.dumps(before))) == identity(before)


@given(y=st.integers(0, 95), x=st.integers(0, 95), step=st.integers(1, 255), of_mask=st.booleans())
def test_one_pixel_of_image_or_mask_changes_the_identity(
    y: int, x: int, step: int, of_mask: bool
) -> None:
    (sample,) = phantoms(1, 96)
    assert sample.mask is not None
    image, mask = sample.image.copy(), sample.mask.copy()
    if of_mask:
        mask[y, x] ^= True
    else:
        image[y, x] = (int(image[y, x]) + step) % 256
    (cell, *_) = small().cells("phantoms", sample.name)
    bench = workbench(cell)
    before, after = (
        identity(provenance(cell, each, bench)) for each in (sample, Sample(image, mask))
    )
    assert before != after


SETTINGS: dict[str, Any] = {
    "agent": "roi",
    "base_qp": 33,
    "ctu_size": 32,
    "preset": "superfast",
    "codec": "ffmpeg",
    "seed": 1,
    "segmenter": "tests.bench.test_provenance:another_segmenter",
    "second": "tests.support:vesselness",
    "data": "dca1",
    "image": "b",
}


@pytest.mark.parametrize("field", SETTINGS)
def test_every_setting_changes_the_identity(field: str) -> None:
    (sample,) = phantoms(1, 96)
    (cell, *_) = small().cells("phantoms", sample.name)
    other = replace(cell, **{field: SETTINGS[field]})
    found = {identity(provenance(each, sample, workbench(each))) for each in (cell, other)}
    assert len(found) == 2


def another_segmenter(images: Any, /) -> Any:
    """Sees nothing."""
    return np.zeros(images.shape, np.float32)


@pytest.mark.parametrize(
    ("name", "value"), [("PROTOCOL", 99), ("__version__", "9.9"), ("hevc_version", lambda _: "x")]
)
def test_versions_and_protocol_change_the_identity(
    planned: dict[str, Any], monkeypatch: pytest.MonkeyPatch, name: str, value: Any
) -> None:
    monkeypatch.setattr(identity_module, name, value)
    assert make_plan(small(images=1)).cells[0].id != identity(planned)


def test_weights_of_every_network_are_in_the_identity() -> None:
    definition = small(segmenter="unet", second="second", agents=["anchor", "search:20"], images=1)
    jobs = {job.cell.agent: job.provenance for job in make_plan(definition).cells}
    for network in ("segmenter", "second"):
        assert len(jobs["anchor"][network]["sha256"]) == 64
        assert jobs["anchor"][network]["dtype"] == "float32"
    assert jobs["anchor"]["segmenter"]["sha256"] != jobs["anchor"]["second"]["sha256"]
    assert jobs["anchor"]["posterior"] is None
    assert len(jobs["search:20"]["posterior"]) == 64


def test_an_agents_own_source_or_weights_are_in_the_identity(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(str(tmp_path))
    source = (
        "class Agent:\n    def predict(self, seen, state=None, **_):\n        return 4, state\n"
    )
    found = set()
    for name, text in (("mine_a", source), ("mine_b", source), ("mine_c", source + "# other\n")):
        (tmp_path / f"{name}.py").write_text(text)
        job = make_plan(small(agents=[f"{name}:Agent"], images=1)).cells[1]
        assert job.cell.agent == f"{name}:Agent"
        found.add(job.provenance["agent"]["sha256"])
    assert len(found) == 2


class Policy:
    """As a model of Stable-Baselines3 has one."""

    def __init__(self, weight: float) -> None:
        self.policy = torch.nn.Linear(1, 1)
        torch.nn.init.constant_(self.policy.weight, weight)
        torch.nn.init.zeros_(self.policy.bias)

    def predict(self, seen: Any, state: Any = None, **_: Any) -> tuple[int, Any]:
        return 4, state


one, also_one, two = Policy(1), Policy(1), Policy(2)


def test_the_weights_of_a_policy_are_in_the_identity() -> None:
    names = [f"{__name__}:{name}" for name in ("one", "also_one", "two")]
    jobs = {job.cell.agent: job for job in make_plan(small(agents=names, images=1)).cells}
    first, same, other = (jobs[name].provenance["agent"] for name in names)
    assert first == same
    assert first["sha256"] != other["sha256"]


def test_the_weights_of_each_level_of_a_clips_agent_are_in_the_identity() -> None:
    data, agents = ["phantom-clips?count=2&size=96&frames=2"], ["hrlvsc", "levels::dmic"]
    definition = small(data=data, agents=agents, base_qps=[32], ctu_sizes=[64])
    found = {cell.cell.agent: cell.provenance["agent"] for cell in make_plan(definition).cells}
    assert {agent: found[agent]["frame"] for agent in agents} == dict.fromkeys(agents)
    assert found["hrlvsc"]["ctu"]["sha256"] != found["levels::dmic"]["ctu"]["sha256"]


def test_a_critic_that_is_drawn_anew_is_not_in_the_identity() -> None:
    policy: Any = small_model().policy
    before = acting_sha256(policy)
    torch.nn.init.normal_(policy.value_net.weight)
    assert acting_sha256(policy) == before
    torch.nn.init.normal_(policy.action_net.weight)
    assert acting_sha256(policy) != before


def test_the_weights_behind_an_improved_map_are_in_the_identity() -> None:
    name = f"{__name__}:two"
    agents = [name, f"{name}+refine:3", f"{name}+sample:3"]
    cells = make_plan(small(segmenter="unet", images=1, base_qps=[32], agents=agents)).cells
    found = {cell.cell.agent: cell.provenance for cell in cells}
    alone, *improved = (found[agent] for agent in agents)
    assert all(one["agent"] == alone["agent"] for one in improved)
    assert [len(one["posterior"]) for one in improved] == [64, 64]


def test_who_decides_a_recoded_map_is_in_the_identity() -> None:
    agents = ["roi", "roi+recoded", "roi+refine:3", "roi+refine:3+recoded"]
    cells = make_plan(small(images=1, base_qps=[32], agents=agents)).cells
    found = {cell.cell.agent: cell.provenance for cell in cells}
    assert [name for name in agents if "decided_with" in found[name]] == agents[1::2]
    assert found[agents[1]]["decided_with"] == found["roi"]["encoder"]["version"]
    assert found[agents[2]]["posterior"] == found[agents[3]]["posterior"]
