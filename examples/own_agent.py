"""An agent of one's own: spare the bits of a CTU in which the segmenter sees little.

python examples/own_agent.py
dmic bench --quick --agents anchor,examples.own_agent:ThriftyAgent
"""

from typing import Any

import gymnasium as gym

import dmic_gym  # noqa: F401  (registers CodingEnv-v0)


class ThriftyAgent:
    """Anything with the `predict` of Stable-Baselines3's models is an agent."""

    def predict(self, seen: Any, state: Any = None, *_: Any, **__: Any) -> tuple[int, Any]:
        importance = seen["ctu"][1].mean() / 255
        return (3 if importance > 0.02 else 5), state  # indices into env.unwrapped.qp_offsets


if __name__ == "__main__":
    env, agent = gym.make("CodingEnv-v0"), ThriftyAgent()
    observation, info = env.reset(seed=0)
    over = False
    while not over:
        observation, reward, terminated, truncated, info = env.step(agent.predict(observation)[0])
        over = terminated or truncated
    for key in ("bits", "anchor_bits", "dice", "anchor_dice", "reward_terms"):
        print(f"{key:13} {info[key]}")
