"""What a step of a policy costs: HRLVSCPolicy against Stable-Baselines3's MultiInputPolicy.

    python benchmarks/policy_step.py [--rounds N] [--json FILE]

Forward is what choosing an action costs, forward and backward what learning from it costs; both
policies in turns in one process and one torch thread. Times are the least of the rounds, so that
other load on the machine counts little. Beside them a CTU's share of encoding, decoding and
segmenting a phantom of 300x300.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from measure.common import BASE_QP, Row, interleave, machine, markdown
from stable_baselines3 import A2C

from dmic_gym.agents.policy.network import HRLVSCPolicy
from dmic_gym.codecs import uniform_map
from dmic_gym.envs.coding_env import CodingEnv
from dmic_gym.io import write_atomically

BATCHES = (1, 8, 64)
OURS, THEIRS = "HRLVSCPolicy", "MultiInputPolicy"


def measure(rounds: int) -> dict[str, Any]:
    torch.set_num_threads(1)
    env = CodingEnv(dataset="phantoms", preset="medium")
    policies = {
        OURS: A2C(HRLVSCPolicy, env, device="cpu", seed=0).policy,
        THEIRS: A2C("MultiInputPolicy", env, device="cpu", seed=0).policy,
    }
    episode = _episode_seconds(env, rounds)
    rows = [
        row
        for batch in BATCHES
        for work in (_forward, _learn)
        for row in _compare(policies, env, batch, work, rounds)
    ]
    ctus = env.evaluator.map_shape(env.dataset[0])
    steps = ctus[0] * ctus[1]
    single = {row["policy"]: row["ms"] for row in rows if row["batch"] == 1 and not row["learn"]}
    shares = {name: ms / (ms + 1000 * episode / steps) for name, ms in single.items()}
    env.close()
    return {
        "encode_and_segment_ms_per_ctu": 1000 * episode / steps,
        "share_of_a_step": shares,
        "parameters": {
            name: sum(p.numel() for p in policy.parameters()) for name, policy in policies.items()
        },
        "machine": machine(),
        "rounds": rounds,
        "rows": rows,
    }


def _compare(
    policies: dict[str, Any], env: CodingEnv, batch: int, work: Callable[..., None], rounds: int
) -> list[Row]:
    seen, _ = env.reset(seed=0)
    tensors = {
        key: torch.as_tensor(value).repeat(batch, *[1] * value.ndim) for key, value in seen.items()
    }
    times = interleave(
        {name: lambda policy=policy: work(policy, tensors) for name, policy in policies.items()},
        rounds,
    )
    return [
        {
            "policy": name,
            "batch": batch,
            "learn": work is _learn,
            "ms": 1000 * min(times[name]),
            f"times {THEIRS}": min(times[name]) / min(times[THEIRS]),
        }
        for name in policies
    ]


def _forward(policy: Any, tensors: dict[str, torch.Tensor]) -> None:
    with torch.no_grad():
        policy(tensors)


def _learn(policy: Any, tensors: dict[str, torch.Tensor]) -> None:
    values, log_probability, entropy = policy.evaluate_actions(
        tensors, torch.zeros(len(tensors["features"]), dtype=torch.long)
    )
    (values.mean() + log_probability.mean() + entropy.mean()).backward()
    policy.zero_grad(set_to_none=True)


def _episode_seconds(env: CodingEnv, rounds: int) -> float:
    """Seconds to encode, decode and segment one image of 300x300."""
    reference = env.evaluator.reference(env.dataset[0])
    qps = uniform_map(reference.sample.image.shape, env.ctu_size, BASE_QP)
    return min(interleave({"score": lambda: env.evaluator.score(reference, qps)}, rounds)["score"])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=50, help="repetitions of each timing")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write results to FILE")
    options = parser.parse_args()
    results = measure(options.rounds)
    print(markdown(results["rows"]))
    print(f"\nencode and segment: {results['encode_and_segment_ms_per_ctu']:.2f} ms a CTU")
    for name, share in results["share_of_a_step"].items():
        print(f"{name}: {share:.0%} of a step, {results['parameters'][name]} parameters")
    if options.json:
        options.json.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(options.json, (json.dumps(results, indent=1) + "\n").encode())


if __name__ == "__main__":
    main()
