"""Agents of one's own: one trained by Stable-Baselines3, one written by hand, both in a table.

python examples/own_agent.py [STEPS]
"""

import subprocess
import sys
from typing import Any

from stable_baselines3 import A2C

import dmic_gym


class ThriftyAgent:
    """Spares the bits of a CTU in which the segmenter sees little."""

    def predict(self, seen: Any) -> int:
        importance = seen["ctu"][1].mean() / 255
        return 3 if importance > 0.02 else 5  # indices into env.unwrapped.qp_offsets


if __name__ == "__main__":
    env = dmic_gym.make_sb3_vec(4, reward="priced")  # synthetic angiograms, x265, shipped U-Net
    model = A2C("MultiInputPolicy", env, n_steps=25, seed=0)  # PPO and DQN go the same way
    model.learn(int(sys.argv[1]) if len(sys.argv) > 1 else 2_000)
    model.save("own_agent.zip")
    env.close()
    agents = "anchor,own_agent.zip,examples.own_agent:ThriftyAgent"
    bench = [sys.executable, "-m", "dmic_gym", "bench", "--quick", "--agents", agents]
    subprocess.run(bench, check=True)
