"""Weights from anywhere: load, learn, save, and what happens to files that do not fit.

python examples/own_weights.py
"""

import pickle
import tempfile
from pathlib import Path
from typing import Any

import gymnasium as gym
import torch

import dmic_gym
from dmic_gym import PartialFreezeCallback
from dmic_gym.agents.policy.loading import save_policy
from dmic_gym.errors import WeightsError


class Payload:
    """Touches a file when it is unpickled."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[Any, ...]:
        return self.mark.touch, ()


def play(model: Any, env: gym.Env[Any, Any]) -> list[int]:
    """Return the actions of one episode."""
    observation, _ = env.reset(options={"sample": 0, "base_qp": 32})
    actions, over = [], False
    while not over:
        action, _ = model.predict(observation, deterministic=True)
        actions.append(int(action))
        observation, _, terminated, truncated, _ = env.step(action)
        over = terminated or truncated
    return actions


def show_refusal(what: str, *arguments: Any, **options: Any) -> None:
    try:
        dmic_gym.load_policy(*arguments, **options)
    except WeightsError as error:
        print(f"\n{what}:\n  " + str(error).replace("\n", "\n  "))
    else:
        raise SystemExit(f"{what}: was loaded")


def main(folder: Path, env: gym.Env[Any, Any]) -> None:
    # Load, learn, save, load: the same actions.
    model = dmic_gym.load_policy("hrlvsc", env, device="cpu", n_steps=25)
    freeze = PartialFreezeCallback()
    model.learn(50, callback=freeze)
    path = save_policy(model, folder, "mine", data=["phantoms"], notes=["50 steps."])
    actions = play(model, env)
    assert play(dmic_gym.load_policy(path, env, device="cpu"), env) == actions
    print(
        f"trained {freeze.share:.1%} of the parameters; loaded again, the same actions: {actions}"
    )

    # Somebody else's network: other names, nested; and a layer of another shape.
    state = {f"net.{name}": tensor for name, tensor in model.policy.state_dict().items()}
    theirs = folder / "theirs.pt"
    torch.save({"epoch": 7, "state_dict": state}, theirs)
    show_refusal("Names that do not fit", theirs, env)
    table = {r"^net\.": ""}
    assert play(dmic_gym.load_policy(theirs, env, key_map=table, device="cpu"), env) == actions
    print(f"\nThey do with key_map={table}: the same actions.")
    torch.save({**state, "net.action_net.bias": torch.zeros(7)}, theirs)
    show_refusal("A shape that does not fit", theirs, env, key_map=table)

    # A file that would run code.
    evil, mark = folder / "evil.pt", folder / "was-here"
    evil.write_bytes(pickle.dumps({"weights": Payload(mark)}))
    show_refusal("A pickle that runs code", evil, env)
    torch.save({"weights": Payload(mark)}, evil)
    show_refusal("The same by torch.save", evil, env)
    assert not mark.exists()
    env.close()


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as temporary:
        main(Path(temporary), gym.make("CodingEnv-v0", preset="ultrafast"))
