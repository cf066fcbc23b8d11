from __future__ import annotations

import numpy as np
import numpy.typing as npt

from dmic_gym.agents.registry import make_agent
from dmic_gym.bench.bench import bench
from dmic_gym.bench.held_out import HeldOutSegmenter
from dmic_gym.bench.protocol import LOW_RATE_QPS, STANDARD_QPS
from dmic_gym.bench.report import tables
from dmic_gym.bench.runner import code_image
from dmic_gym.envs.coding_env import CodingEnv
from dmic_gym.tasks.metrics import binarize, dice
from tests.support import Image, vesselness


def inverted(images: Image, /) -> npt.NDArray[np.float32]:
    return np.asarray(1.0 - vesselness(images), np.float32)


def test_the_second_network_scores_the_decoded_image(env: CodingEnv) -> None:
    sample = env.dataset[0]
    evaluator, held_out = env.evaluator, HeldOutSegmenter(inverted)
    row = code_image(evaluator, make_agent("anchor", evaluator), sample, 37, held_out)
    assert sample.mask is not None
    anchor = evaluator.score(evaluator.reference(sample), np.array(row.qp_map))
    mask = binarize(inverted(anchor.encoded.reconstruction[None])[0])
    assert row.second_dice == dice(mask, sample.mask)
    assert row.second_consistency_dice == dice(mask, binarize(inverted(sample.image[None])[0]))
    assert row.dice != row.second_dice


def test_both_qp_sets_and_both_networks(env: CodingEnv) -> None:
    sets = {"standard": STANDARD_QPS, "low_rate": LOW_RATE_QPS}
    results = bench(env, agents=["roi"], qp_sets=sets, images=2, second=vesselness)
    assert results["protocol"]["base_qps"] == [22, 27, 32, 37, 42, 47]
    roi = results["agents"]["roi"]
    assert [point["base_qp"] for point in roi["points"]] == [22, 27, 32, 37, 42, 47]
    assert len(roi["images"]) == 2 * 6
    for part in (roi, roi["low_rate"]):
        # the second network is the first one here, so it has to say the same
        assert part["second"]["bd_rate_percent"] == part["bd_rate_percent"]
        assert part["second"]["ci95"] == part["ci95"]
        assert set(part["slices"]) == {"bd_rate_percent", "bd_rate_note", "ci95", "bd_dice"}
    assert results["agents"]["anchor"]["low_rate"]["bd_rate_percent"] == 0.0
    assert roi["bd_rate_percent"] != roi["low_rate"]["bd_rate_percent"]
    assert len(tables(results)) == 4
