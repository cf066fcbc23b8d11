"""The baseline of the tables: PPO with Stable-Baselines3's own policy, from scratch.

    python benchmarks/baseline_ppo.py --data $DMIC_DATA/angiograms/train --steps 20000 --out OUT
    dmic bench --data $DMIC_DATA/angiograms/test --agents anchor,OUT/ppo.safetensors

PPO and MultiInputPolicy have the defaults of Stable-Baselines3; a rollout of its 2048 steps is
shared among the environments. ``--steps`` is the budget to compare with: the A2C steps on the
card of the other policy.
"""

from __future__ import annotations

import argparse
from dataclasses import asdict
from pathlib import Path

from stable_baselines3 import PPO
from stable_baselines3.common.vec_env import VecMonitor

from dmic_gym.agents.policy.loading import save_policy
from dmic_gym.agents.training.learn import check_out
from dmic_gym.agents.training.progress import Episodes
from dmic_gym.agents.training.telemetry import GpuMonitor
from dmic_gym.cli.common import command_line, integers_of
from dmic_gym.envs.sb3 import make_sb3_vec
from dmic_gym.io import portable
from dmic_gym.tasks.data import load_dataset

ROLLOUT = 2048


def train(options: argparse.Namespace) -> Path:
    images = load_dataset(options.data)
    env = make_sb3_vec(
        options.envs,
        seed=options.seed,
        dataset=images,
        segmenter=options.segmenter,
        ctu_size=options.ctu,
        base_qps=integers_of("--qps", options.qps),
    )
    n_steps = max(ROLLOUT // options.envs, 2)
    model = PPO(
        "MultiInputPolicy",
        VecMonitor(env),
        n_steps=n_steps,
        seed=options.seed,
        device=options.device,
        tensorboard_log=str(options.out / "log"),
    )
    with GpuMonitor() as monitor:
        model.learn(options.steps, Episodes(_say, options.steps), tb_log_name="ppo")
    path = save_policy(
        model,
        options.out,
        options.name,
        data=[
            f"{portable(options.data)} ({len(images)} images)",
            f"segmenter {portable(options.segmenter)}",
        ],
        command=command_line().replace("dmic ", "python benchmarks/baseline_ppo.py ", 1),
        metrics={
            "algorithm": "PPO",
            "steps": model.num_timesteps,
            "n_steps": n_steps,
            "envs": options.envs,
            "ctu_size": options.ctu,
            "base_qps": integers_of("--qps", options.qps),
            "gpu": asdict(monitor.telemetry),
        },
        notes=[
            "A baseline: Stable-Baselines3's PPO and MultiInputPolicy with their defaults, from "
            "random weights; nothing of DMIC or HRLVSC is in it."
        ],
    )
    env.close()
    return path


def _say(stage: str, done: int, total: int, word: str) -> None:
    print(f"{done}/{total} {word}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", required=True, help="folder of annotated images")
    parser.add_argument("--segmenter", default="unet", help="name, path or module:object")
    parser.add_argument("--steps", type=int, default=20_000)
    parser.add_argument("--qps", default="22,27,32,37,42,47")
    parser.add_argument("--ctu", type=int, default=64)
    parser.add_argument("--envs", type=int, default=16)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--name", default="ppo")
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    check_out(options.out, resume=False)
    print(f"wrote {train(options)}")


if __name__ == "__main__":
    main()
