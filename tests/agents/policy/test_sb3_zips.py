"""``model.save("p.zip")`` of Stable-Baselines3, then ``dmic bench --agents anchor,p.zip``."""

from __future__ import annotations

import base64
import json
import pickle
import shutil
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from gymnasium import spaces
from stable_baselines3 import A2C, DQN, PPO
from stable_baselines3.common.policies import MultiInputActorCriticPolicy
from stable_baselines3.common.save_util import load_from_zip_file
from stable_baselines3.common.torch_layers import BaseFeaturesExtractor
from torch import Tensor, nn

from dmic_gym.agents.planning import SteppingPlanner
from dmic_gym.agents.policy.loading import load_policy, save_policy
from dmic_gym.agents.policy.trunk import DMICPolicy
from dmic_gym.agents.registry import make_agent
from dmic_gym.bench.plan import make_plan
from dmic_gym.codecs import X265Codec
from dmic_gym.envs.evaluator import Evaluator
from dmic_gym.errors import InvalidInputError, WeightsError
from tests.agents.policies import same, small_vec
from tests.agents.policy.test_weight_files import Payload, touch
from tests.bench.sweeping import small
from tests.support import ROOT, vesselness

HERE = "tests.agents.policy.test_sb3_zips"
ALGORITHMS: dict[Any, dict[str, Any]] = {
    A2C: {"n_steps": 4},
    PPO: {"n_steps": 4, "batch_size": 4, "n_epochs": 1},
    DQN: {"buffer_size": 50, "learning_starts": 4, "train_freq": 1},
}


class Numbers(BaseFeaturesExtractor):
    """Sees the numbers alone."""

    def __init__(self, observation_space: spaces.Dict) -> None:
        super().__init__(observation_space, 16)
        size = observation_space["features"].shape
        assert size is not None
        self.layer = nn.Linear(size[0], 16)

    def forward(self, observations: dict[str, Tensor]) -> Tensor:
        found: Tensor = self.layer(observations["features"])
        return found


class NumbersPolicy(MultiInputActorCriticPolicy):
    def __init__(self, *arguments: Any, **kwargs: Any) -> None:
        super().__init__(*arguments, **{"features_extractor_class": Numbers, **kwargs})


class OwnA2C(A2C):
    policy_aliases = {"NumbersPolicy": NumbersPolicy}  # noqa: RUF012


class OwnAgent:
    """Not of Stable-Baselines3: reads its file itself, acts on the observation alone."""

    def __init__(self, action: int) -> None:
        self.action = action

    @classmethod
    def load(cls, path: str) -> OwnAgent:
        with zipfile.ZipFile(path) as archive:
            return cls(json.loads(archive.read("data"))["n_steps"])

    def predict(self, observation: dict[str, Any]) -> int:
        assert observation["features"].ndim == 1
        return self.action


def saved(folder: Path, algorithm: Any = A2C, policy: Any = "MultiInputPolicy", **kw: Any) -> Any:
    settings = next(s for kind, s in ALGORITHMS.items() if issubclass(algorithm, kind))
    model = algorithm(policy, small_vec(), seed=1, device="cpu", **settings, **kw)
    model.learn(16)
    model.save(folder / "p.zip")
    return model


@pytest.fixture
def evaluator(monkeypatch: pytest.MonkeyPatch) -> Iterator[Evaluator]:
    monkeypatch.syspath_prepend(str(ROOT))
    with X265Codec(64, "ultrafast") as codec:
        yield Evaluator(codec, vesselness)


def assert_same_actions(spec: str, model: Any, evaluator: Evaluator) -> None:
    planner = make_agent(spec, evaluator)
    assert isinstance(planner, SteppingPlanner)
    vec: Any = small_vec()
    seen = vec.reset()
    for _ in range(9):
        theirs, _ = model.predict(seen, deterministic=True)
        ours, _ = planner.agent.predict(seen, deterministic=True)
        np.testing.assert_array_equal(ours, theirs)
        seen, *_ = vec.step(np.asarray([3, 9]))
    sample = vec.env.dataset[0]
    plan = planner.plan(evaluator, evaluator.reference(sample), 32)
    assert plan.encodes == 1


@pytest.mark.parametrize("algorithm", [A2C, PPO, DQN])
def test_the_natural_path(algorithm: Any, tmp_path: Path, evaluator: Evaluator) -> None:
    model = saved(tmp_path, algorithm)
    assert_same_actions(f"{tmp_path}/p.zip", model, evaluator)
    again = load_policy(tmp_path / "p.zip", small_vec(), device="cpu")
    assert isinstance(again, DQN if algorithm is DQN else A2C)
    assert same(again.policy, model.policy)
    again.learn(4)


@pytest.mark.parametrize("policy", [DMICPolicy, "MultiInputPolicy"])
def test_a_network_of_another_size_and_activation(
    policy: Any, tmp_path: Path, evaluator: Evaluator
) -> None:
    kwargs = {"net_arch": {"pi": [8], "vf": [16, 4]}, "activation_fn": nn.ELU, "ortho_init": False}
    model = saved(tmp_path, PPO, policy, policy_kwargs=kwargs)
    assert_same_actions(f"{tmp_path}/p.zip", model, evaluator)


def test_a_dqn_goes_on_a_card_too(tmp_path: Path, evaluator: Evaluator) -> None:
    model = saved(tmp_path, DQN, policy_kwargs={"net_arch": [12]})
    path = save_policy(model, tmp_path, "mine")
    assert_same_actions(str(path), model, evaluator)
    with pytest.raises(InvalidInputError, match="which PPO cannot use: leave out algorithm="):
        load_policy(path, small_vec(), algorithm=PPO)


@pytest.mark.parametrize(
    ("name", "algorithm", "policy", "kwargs"),
    [
        ("Numbers", PPO, "MultiInputPolicy", {"features_extractor_class": Numbers}),
        ("NumbersPolicy", A2C, NumbersPolicy, {}),
        ("OwnA2C", OwnA2C, "NumbersPolicy", {}),
    ],
)
def test_a_class_of_ones_own(
    name: str, algorithm: Any, policy: Any, kwargs: Any, tmp_path: Path, evaluator: Evaluator
) -> None:
    model = saved(tmp_path, algorithm, policy, policy_kwargs=kwargs)
    with pytest.raises(WeightsError, match=rf"{HERE}\.Numbers.*MODULE:CLASS@"):
        make_agent(f"{tmp_path}/p.zip", evaluator)
    assert_same_actions(f"{HERE}:{name}@{tmp_path}/p.zip", model, evaluator)


def test_a_class_that_reads_its_own_file(tmp_path: Path, evaluator: Evaluator) -> None:
    saved(tmp_path)
    planner = make_agent(f"{HERE}:OwnAgent@{tmp_path}/p.zip", evaluator)
    assert isinstance(planner, SteppingPlanner)
    plan = planner.plan(evaluator, evaluator.reference(small_vec().env.dataset[0]), 30)
    assert np.unique(plan.result.qp_map).tolist() == [33]  # action 4 everywhere
    with pytest.raises(InvalidInputError, match="Payload is no policy"):
        make_agent(f"tests.agents.policy.test_weight_files:Payload@{tmp_path}/p.zip", evaluator)
    for name in ("OwnAgent", "OwnA2C"):
        with pytest.raises(WeightsError, match=r"none\.zip"):
            make_agent(f"{HERE}:{name}@{tmp_path}/none.zip", evaluator)
    with pytest.raises(InvalidInputError, match="is no class"):
        make_agent(f"tests.support:vesselness@{tmp_path}/p.zip", evaluator)


def test_the_file_of_an_agent_is_in_the_identity_of_its_results(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(str(ROOT))
    saved(tmp_path)
    shutil.copy(tmp_path / "p.zip", tmp_path / "same.zip")
    other = rewritten(tmp_path / "p.zip", lambda data: {**data, "n_steps": 7})
    files = [tmp_path / "p.zip", tmp_path / "same.zip", other]
    agents = [f"{HERE}:OwnAgent@{path}{more}" for path in files for more in ("", "+refine:1")]
    cells = make_plan(small(agents=agents, images=1)).cells
    found = {cell.cell.agent: cell.provenance.get("file") for cell in cells}
    assert found.pop("anchor") is None
    assert found[agents[0]] == found[agents[1]] == found[agents[2]] == found[agents[3]]
    assert len({*found.values()} - {None}) == 2


def test_a_transition_of_dqn_takes_49_kilobytes() -> None:
    observation = small_vec().reset()
    assert isinstance(observation, dict)
    assert 2 * sum(array[0].nbytes for array in observation.values()) == 49_384


def rewritten(path: Path, change: Any) -> Path:
    """The zip with other JSON in it."""
    other = path.with_name("other.zip")
    with zipfile.ZipFile(path) as archive, zipfile.ZipFile(other, "w") as made:
        for name in archive.namelist():
            data = archive.read(name)
            made.writestr(name, json.dumps(change(json.loads(data))) if name == "data" else data)
    return other


def test_pickles_in_the_json_are_not_opened(tmp_path: Path, evaluator: Evaluator) -> None:
    model, mark = saved(tmp_path), tmp_path / "it-ran"
    bomb = base64.b64encode(pickle.dumps(Payload(touch, str(mark)))).decode()

    def armed(content: Any) -> Any:
        if isinstance(content, dict):
            return {k: bomb if k == ":serialized:" else armed(v) for k, v in content.items()}
        return content

    path = rewritten(tmp_path / "p.zip", armed)
    assert bomb in zipfile.ZipFile(path).read("data").decode()
    assert_same_actions(str(path), model, evaluator)
    assert not mark.exists()
    load_from_zip_file(path, device="cpu")
    assert mark.exists(), "the payload would have worked"


@pytest.mark.parametrize(
    ("kwargs", "words"),
    [
        ({":type:": "dict", "net_arch": "[1073741824]"}, "ask for 1073741824 units"),
        ({"net_arch": [16384, 16384, 16384]}, "ask for 49152 units"),
        ({":type:": "dict", "activation_fn": "<class 'os.system'>"}, "os.system, which does not"),
        ({":type:": "dict", "net_arch": "__import__('os')"}, "does not come with dmic_gym"),
        ({"net_arch": {"pi": [8], "vf": [8]}}, "fit"),
    ],
)
def test_arguments_that_are_none(
    kwargs: Any, words: str, tmp_path: Path, evaluator: Evaluator
) -> None:
    saved(tmp_path)
    path = rewritten(tmp_path / "p.zip", lambda data: {**data, "policy_kwargs": kwargs})
    with pytest.raises(WeightsError, match=words):
        make_agent(str(path), evaluator)


def test_what_the_file_does_not_hold_is_the_same_every_time(evaluator: Evaluator) -> None:
    """The name of a sweep's cell holds the hash of all tensors, an untrained critic's too."""
    before = torch.random.get_rng_state()
    one, other = (make_agent("hrlvsc", evaluator) for _ in range(2))
    assert isinstance(one, SteppingPlanner)
    assert isinstance(other, SteppingPlanner)
    assert same(one.agent, other.agent)  # type: ignore[arg-type]
    assert torch.equal(before, torch.random.get_rng_state())


def test_from_learning_to_the_table(dmic: Any, tmp_path: Path) -> None:
    saved(tmp_path, PPO)
    code, _, err = dmic(
        "bench", "--agents", f"anchor,{tmp_path}/p.zip,{HERE}:OwnAgent@{tmp_path}/p.zip",
        "--images", 2, "--segmenter", "tests.support:vesselness", "--preset", "ultrafast",
    )  # fmt: skip
    assert code == 0, err
    rows = json.loads(Path("dmic-bench/results.json").read_text())["agents"]
    assert list(rows) == ["anchor", f"{tmp_path}/p.zip", f"{HERE}:OwnAgent@{tmp_path}/p.zip"]
