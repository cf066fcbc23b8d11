from __future__ import annotations

import numpy as np
import numpy.typing as npt

from dmic_gym.agents.registry import make_agent
from dmic_gym.bench.workbench import code_image
from dmic_gym.envs.coding_env import CodingEnv
from dmic_gym.envs.evaluator import Evaluator
from dmic_gym.tasks.metrics import binarize, dice
from tests.support import Image, vesselness


def inverted(images: Image, /) -> npt.NDArray[np.float32]:
    return np.asarray(1.0 - vesselness(images), np.float32)


def test_the_second_network_scores_the_decoded_image(env: CodingEnv) -> None:
    sample = env.dataset[0]
    evaluator = env.evaluator
    held_out = Evaluator(evaluator.codec, inverted)
    row = code_image(evaluator, make_agent("anchor", evaluator), sample, 37, held_out)
    assert sample.mask is not None
    anchor = evaluator.score(evaluator.reference(sample), np.array(row.qp_map))
    mask = binarize(inverted(anchor.encoded.reconstruction[None])[0])
    assert row.second_dice == dice(mask, sample.mask)
    assert row.second_consistency_dice == dice(mask, binarize(inverted(sample.image[None])[0]))
    assert row.dice != row.second_dice
