"""Tables that are made of the package's own objects when the pages are built."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import gymnasium as gym
import numpy as np
import typer.main
from typer.core import TyperCommand, TyperGroup

import dmic_gym
from dmic_gym import errors
from dmic_gym.agents.registry import DESCRIPTIONS
from dmic_gym.agents.video_registry import GOP_DESCRIPTIONS
from dmic_gym.cli import app
from dmic_gym.envs.observations import FEATURES
from dmic_gym.envs.rewards import REWARDS
from dmic_gym.envs.video_observations import VIDEO_FEATURES
from dmic_gym.tasks.registry import TASKS

SMALL: Mapping[str, Mapping[str, Any]] = {
    "CodingEnv-v0": {"dataset": "phantoms?count=1&size=96"},
    "CodingMapEnv-v0": {"dataset": "phantoms?count=1&size=96"},
    "VideoCodingEnv-v0": {"dataset": "phantom-clips?count=1&size=96&frames=2", "gop": 2},
}
"""What the episodes code whose `info` is shown."""


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a Markdown table."""
    lines = [head, ["---"] * len(head), *([_cell(text) for text in row] for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")


def _env(env_id: str) -> gym.Env[Any, Any]:
    return gym.make(env_id, preset="ultrafast", **SMALL[env_id])


def observations(env_id: str) -> str:
    """Return keys, dtypes, shapes and ranges of an observation space."""
    space = _env(env_id).observation_space
    assert isinstance(space, gym.spaces.Dict)
    rows = [(f"`{key}`", str(box.dtype), str(box.shape), _range(box)) for key, box in space.items()]
    return table(("key", "dtype", "shape", "range"), rows)


def _range(box: Any) -> str:
    return f"{np.min(box.low):g} .. {np.max(box.high):g}"


def actions(env_id: str) -> str:
    """Return the action space and its table of QP offsets."""
    env = _env(env_id)
    offsets: Sequence[int] = env.get_wrapper_attr("qp_offsets")
    head = ("action", *map(str, range(len(offsets))))
    return f"`{env.action_space}`\n\n" + table(head, [("QP offset", *map("{:+d}".format, offsets))])


def features(kind: str) -> str:
    """Return the names of the numbers in an observation, each with its index."""
    names = {"features": FEATURES, "video": VIDEO_FEATURES}[kind]
    return ", ".join(f"{index}&nbsp;`{name}`" for index, name in enumerate(names)) + "."


def info(env_id: str) -> str:
    """Return the keys of the info of an episode's last step, from an episode that is played."""
    env = _env(env_id)
    env.reset(seed=0, options={"base_qp": 32})
    over, last = False, {}
    while not over:
        _, _, terminated, truncated, last = env.step(env.action_space.sample() * 0 + 3)
        over = terminated or truncated
    env.close()
    return table(("key", "type", "example"), [_entry(key, value) for key, value in last.items()])


def _entry(key: str, value: Any) -> tuple[str, str, str]:
    if isinstance(value, np.ndarray):
        return f"`{key}`", f"{value.dtype} {value.shape}", ""
    shown = f"{value:.4g}" if isinstance(value, float) else str(value)
    return f"`{key}`", type(value).__name__, f"`{shown}`"


def arguments(env_id: str) -> str:
    """Return the arguments of an environment with their defaults."""
    entry = gym.spec(env_id).entry_point
    assert isinstance(entry, str)
    kind = gym.envs.registration.load_env_creator(entry)
    found = inspect.signature(kind).parameters.values()
    return table(("argument", "default"), [(f"`{p.name}`", f"`{p.default!r}`") for p in found])


def rewards() -> str:
    """Return the rewards by name."""
    rows = [
        (f'`"{name}"`', f"`{getattr(kind, '__name__', name)}`", first_line(kind))
        for name, kind in REWARDS.items()
    ]
    return table(("name", "class", "pays"), rows)


def agents(kind: str) -> str:
    """Return the agents by name, those of images or of clips."""
    found = {"images": DESCRIPTIONS, "clips": GOP_DESCRIPTIONS}[kind]
    return table(("agent", "what it does"), [(f"`{name}`", does) for name, does in found.items()])


def tasks() -> str:
    """Return the tasks that come with the package."""
    rows = [
        (f"`{t.name}`", *(_code(part) for part in (t.test, t.train, t.segmenter, t.second)))
        for t in TASKS.values()
    ]
    return table(("task", "test", "train", "segmenter", "second network"), rows)


def _code(value: object) -> str:
    return "none" if value is None else f"`{value}`"


def raised() -> str:
    """Return the error tree."""
    found = [
        kind
        for _, kind in inspect.getmembers(errors, inspect.isclass)
        if issubclass(kind, errors.DmicError) and kind is not errors.DmicError
    ]
    rows = [
        (
            f"`{kind.__name__}`",
            ", ".join(f"`{base.__name__}`" for base in kind.__bases__),
            _doc(kind),
        )
        for kind in sorted(found, key=lambda kind: kind.mro()[1].__name__ + kind.__name__)
    ]
    return table(("error", "is also", "means"), rows)


def first_line(made: object) -> str:
    """Return the first line of a docstring."""
    return _doc(made).partition("\n")[0]


def _doc(made: object) -> str:
    return inspect.getdoc(made) or ""


def commands() -> str:
    """Return the options of every command."""
    group = typer.main.get_command(app)
    assert isinstance(group, TyperGroup)
    with group.make_context("dmic", ["list"]) as context:
        names = group.list_commands(context)
    return "\n\n".join(_command(name, group.commands[name]) for name in names)


def _command(name: str, command: Any) -> str:
    assert isinstance(command, TyperCommand)
    rows = [_option(parameter) for parameter in command.params if parameter.name != "help"]
    lines = [line for line in (command.epilog or "").split("\n\n") if not line.startswith("[bold]")]
    examples = "\n".join(["```sh", *lines, "```"])
    help_text = _plain(inspect.cleandoc(command.help or ""))
    parts = [f"## dmic {name}", help_text, examples]
    return "\n\n".join([*parts, table(("option", "default", ""), rows)] if rows else parts)


def _option(parameter: Any) -> tuple[str, str, str]:
    names = ", ".join(f"`{text}`" for text in parameter.opts)
    shown = getattr(parameter, "show_default", None)
    default = shown if isinstance(shown, str) else parameter.default
    if parameter.required:
        default = "required"
    empty = default is None or default is False
    return names, "" if empty else str(default), _plain(parameter.help or "")


def _plain(text: str) -> str:
    return text.replace("*", "\\*")


def public_names() -> str:
    """Return what documents each name of `dmic_gym.__all__`."""
    lazy: Mapping[str, str] = dmic_gym._LAZY
    called = {"load_segmenter": "find_segmenter"}
    return "\n\n".join(
        f"## dmic_gym.{name}\n\n::: dmic_gym.{lazy[name]}.{called.get(name, name)}\n"
        "    options:\n      show_root_heading: false\n      show_root_toc_entry: false"
        for name in sorted(lazy, key=str.lower)
    )


TABLES: Mapping[str, Callable[..., str]] = {
    made.__name__: made
    for made in (
        observations, actions, features, info, arguments, rewards, agents, tasks, raised, commands,
        public_names,
    )
}  # fmt: skip
