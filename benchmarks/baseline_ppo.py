"""The baseline of the tables: PPO with Stable-Baselines3's own policy, from scratch.

    python benchmarks/baseline_ppo.py --task arcade --steps 1000000 --out runs/ppo
    dmic sweep benchmarks/headline.toml

PPO and MultiInputPolicy have the defaults of Stable-Baselines3; a rollout of about its 2048 steps
is shared among the environments and holds whole episodes. ``--steps`` is the budget to compare
with: the A2C steps on the card of the other policy. The reward is theirs ("priced"), paid once an
episode; ``--credit`` pays each CTU for what it did, as theirs are, and the card says which.
A run that was stopped goes on with ``--resume``.
"""

from __future__ import annotations

import argparse
from functools import partial
from pathlib import Path

from policies import command_of
from stable_baselines3 import PPO
from stable_baselines3.common.on_policy_algorithm import OnPolicyAlgorithm

from dmic_gym.agents.training.config import TrainingConfig
from dmic_gym.agents.training.environments import TrainingEnv, episode_steps
from dmic_gym.agents.training.run import CardNotes, TrainingRun
from dmic_gym.cli.common import integers_of
from dmic_gym.io import portable
from dmic_gym.tasks.registry import task_of
from dmic_gym.tasks.segmenters.find import find_segmenter
from dmic_gym.tasks.segmenters.network import pick_device

ROLLOUT = 2048


def train(options: argparse.Namespace) -> Path:
    """Train on a task's training images, judged by its folds; return the weights' path."""
    task = task_of(options.task, options.segmenter)
    images, segmenter = task.load_data("train"), task.training_segmenter
    config = TrainingConfig(
        epochs=0,
        steps=options.steps,
        ctu_size=options.ctu,
        base_qps=tuple(integers_of("--qps", options.qps)),
        envs=options.envs,
        seed=options.seed,
        checkpoint_every=options.checkpoint_every,
        credit=options.credit,
        maps=options.maps if options.credit else 1,
        entropy=(0.0, 0.0),
    )
    words = [f"{portable(str(task.train))} ({len(images)} images)", f"segmenter {segmenter}"]
    run = TrainingRun(
        options.name,
        options.out,
        config,
        find_segmenter(segmenter),
        device=options.device,
        resume=options.resume,
        card=CardNotes(words, command_of("baseline_ppo"), [_note(options.credit)]),
        on_progress=_say,
    )
    facts = {"start": "random", "algorithm": "PPO", "rollout": ROLLOUT}
    start = partial(_model, config=config, device=options.device)
    return run.run(images, start, facts=facts)


def _model(env: TrainingEnv, config: TrainingConfig, device: str) -> OnPolicyAlgorithm:
    length = episode_steps(env, config)
    episodes = max(round(ROLLOUT / config.envs / length), 1)
    return PPO(
        "MultiInputPolicy",
        env,
        n_steps=episodes * length,
        seed=config.seed,
        device=pick_device(device),
    )


def _note(credit: bool) -> str:
    paid = "each CTU is paid for what it did" if credit else "the reward comes once an episode"
    return (
        "A baseline: Stable-Baselines3's PPO and MultiInputPolicy with their defaults, from random "
        f"weights; {paid}. Nothing of DMIC's or HRLVSC's networks is in it."
    )


def _say(stage: str, done: int, total: int, word: str) -> None:
    print(f"{done}/{total} {word}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--task", default="arcade", help="a task, or annotated images to learn")
    parser.add_argument("--segmenter", help="in place of the task's: name, path, module:object")
    parser.add_argument("--steps", type=int, default=1_000_000)
    parser.add_argument("--qps", default="22,27,32,37,42,47")
    parser.add_argument("--ctu", type=int, default=64)
    parser.add_argument("--envs", type=int, default=16)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--credit", action="store_true", help="pay each CTU for what it did")
    parser.add_argument("--maps", type=int, default=4, help="of an image, compared; with --credit")
    parser.add_argument("--checkpoint-every", type=int, default=20_000, help="steps")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--name", default="ppo")
    parser.add_argument("--resume", action="store_true", help="go on with the run in --out")
    parser.add_argument("--out", type=Path, required=True)
    print(f"wrote {train(parser.parse_args())}")


if __name__ == "__main__":
    main()
