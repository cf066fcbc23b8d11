"""What `import dmic_gym` does and does not do."""

from __future__ import annotations

import importlib.metadata
import inspect
from pathlib import Path

import gymnasium as gym
import pytest

import dmic_gym
from dmic_gym import errors
from dmic_gym.deploy.pictures import Picture, write_picture
from tests.support import ROOT, python, texture

HEAVY = (
    *("gymnasium", "torch", "av", "cv2", "matplotlib", "stable_baselines3", "ffmpeg"),
    *("typer", "bjontegaard"),
)


def loaded_after(code: str) -> set[str]:
    done = python("-W", "error", "-c", f"import sys\n{code}\nprint(*sys.modules)")
    assert done.returncode == 0, done.stderr
    return set(done.stdout.split()) & set(HEAVY)


@pytest.mark.parametrize(
    "code",
    [
        "import dmic_gym",
        "import dmic_gym; dmic_gym.Sample",
        "import dmic_gym.envs, dmic_gym.agents, dmic_gym.bench, dmic_gym.tasks.data",
    ],
)
def test_importing_is_light(code: str) -> None:
    assert loaded_after(code) == set()


@pytest.mark.parametrize(
    "code",
    [
        "import dmic_gym, gymnasium as g; g.register_envs(dmic_gym)",
        "import gymnasium as g; import dmic_gym",
        "import dmic_gym; from importlib.util import find_spec; find_spec('gymnasium')\n"
        "import gymnasium.spaces; import gymnasium as g",
    ],
)
def test_the_environments_are_registered_in_whatever_order_one_imports(code: str) -> None:
    assert loaded_after(f"{code}\ng.spec('CodingEnv-v0')") == {"gymnasium"}


def test_coding_with_the_anchor_and_decoding_need_neither_torch_nor_gymnasium(
    tmp_path: Path,
) -> None:
    write_picture(Picture(texture((64, 80)), 8), tmp_path / "in.png")
    code = (
        "from dmic_gym.cli import app\n"
        f"folder = {str(tmp_path)!r}\n"
        "def run(*words): app(words, standalone_mode=False)\n"
        "run('encode', f'{folder}/in.png', f'{folder}/a.hevc', '--agent', 'anchor')\n"
        "run('decode', f'{folder}/a.hevc', f'{folder}/out.png')"
    )
    assert not loaded_after(code) & {"torch", "gymnasium", "stable_baselines3", "matplotlib"}
    assert (tmp_path / "out.png").is_file()


def test_the_command_is_light_until_it_works() -> None:
    assert not loaded_after("import dmic_gym.cli") - {"typer"}


def test_importing_twice_is_silent() -> None:
    code = (
        "import importlib, gymnasium, dmic_gym\n"
        "importlib.reload(dmic_gym)\n"
        "from dmic_gym.envs import register; register()\n"
        "assert gymnasium.spec('CodingEnv-v0').entry_point"
    )
    done = python("-W", "error", "-c", code)
    assert (done.returncode, done.stderr) == (0, "")


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'Smaple'"):
        dmic_gym.Smaple  # noqa: B018


@pytest.mark.parametrize("name", dmic_gym.__all__)
def test_every_public_name_is_there(name: str) -> None:
    assert name in dir(dmic_gym)
    assert getattr(dmic_gym, name) is not None


def test_the_version_is_that_of_the_distribution() -> None:
    assert importlib.metadata.version("dmic_gym") == dmic_gym.__version__


def test_type_hints_are_shipped() -> None:
    assert (ROOT / "dmic_gym" / "py.typed").is_file()


def test_all_ids_are_versioned_and_belong_to_us() -> None:
    ours = [spec for spec in gym.registry.values() if "dmic_gym" in str(spec.entry_point)]
    assert "CodingEnv-v0" in [spec.id for spec in ours]
    assert all(spec.version is not None for spec in ours)


def test_one_tree_of_errors_that_are_also_of_the_standard_library() -> None:
    tree = [
        kind
        for _, kind in inspect.getmembers(errors, inspect.isclass)
        if issubclass(kind, Exception)
    ]
    assert len(tree) > 8
    for kind in tree:
        assert issubclass(kind, errors.DmicError)
        others = [base for base in kind.__mro__ if base.__module__ == "builtins"]
        if kind is not errors.DmicError:
            assert others[0] is not Exception, kind


def test_unknown_names_get_the_nearest() -> None:
    error = errors.unknown_name("fruit", "aple", ["pear", "apple"])
    assert str(error) == "Unknown fruit 'aple'. Did you mean 'apple'? Valid: apple, pear."
    assert "Did you mean" not in str(errors.unknown_name("fruit", "xyz", ["pear"]))
    assert isinstance(error, ValueError)


def test_every_argument_has_a_default() -> None:
    spec = gym.spec("CodingEnv-v0")
    assert spec.kwargs == {}
    from dmic_gym.envs.coding_env import CodingEnv

    parameters = inspect.signature(CodingEnv).parameters.values()
    assert all(parameter.default is not parameter.empty for parameter in parameters)


def test_the_package_is_the_command() -> None:
    done = python("-m", "dmic_gym", "--help")
    assert (done.returncode, done.stderr) == (0, "")
    for command in ("bench", "encode", "train-segmenter"):
        assert command in done.stdout


def test_what_only_unix_has_is_not_needed() -> None:
    """Importing, and an episode with x265, where these attributes do not exist."""
    code = """
import os, sys
import torch  # has its own check of the platform
for name in ("register_at_fork", "fork", "forkpty", "pwrite", "pread", "sched_getaffinity"):
    if hasattr(os, name):
        delattr(os, name)
sys.modules.update(fcntl=None, pwd=None, grp=None, resource=None)
import dmic_gym, gymnasium
from tests.support import small_env, play
env = small_env()
print(play(env, lambda observation: 3, seed=0)[1]["bits"] > 0)
import dmic_gym.bench.store, dmic_gym.bench.runner, dmic_gym.deploy.files, dmic_gym.cli
"""
    done = python("-c", code)
    assert (done.returncode, done.stdout.split()) == (0, ["True"]), done.stderr


def test_public_names_are_what_they_say() -> None:
    from dmic_gym.tasks.segmenters.find import find_segmenter

    assert dmic_gym.load_segmenter is find_segmenter
    assert len(dmic_gym.load_dataset("phantoms?count=2&size=32")) == 2
    with dmic_gym.X265Codec(64, "ultrafast") as codec:
        assert codec.ctu_size == 64
