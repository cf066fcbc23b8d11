"""Each sabotage of a link between image, QP map, network and mask must be noticed.

A check is a function that raises AssertionError; the same check passes on the true package and
fails on the sabotaged one. Wrong QP maps are in codecs/hevc/test_qps.py, encoder settings that drop
offsets in codecs/hevc/test_selftest.py.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch

from dmic_gym.agents.registry import make_agent
from dmic_gym.bench.workbench import code_image
from dmic_gym.codecs import X265Codec, uniform_map
from dmic_gym.codecs.hevc import codec as hevc_codec
from dmic_gym.codecs.hevc.params import slice_qp
from dmic_gym.codecs.hevc.regions import REGION, regions_of_interest
from dmic_gym.envs import evaluator as evaluator_module
from dmic_gym.envs import results as results_module
from dmic_gym.tasks.data.phantoms.dataset import Phantoms
from dmic_gym.tasks.data.sample import Sample
from dmic_gym.tasks.metrics import binarize, dice
from dmic_gym.tasks.segmenters.architectures import build
from dmic_gym.tasks.segmenters.network import NetworkSegmenter, load_segmenter
from tests.codecs import libde265
from tests.support import binary_noise, plain_x265, play, small_env, vesselness

SAMPLES = list(Phantoms(3, 130))
Batch = npt.NDArray[np.uint8]


def check_segmenter(segmenter: Any, samples: list[Sample] = SAMPLES) -> None:
    """A batch gives what its images give alone, and finds each image's own vessels."""
    batch = np.stack([sample.image for sample in samples])
    probabilities = segmenter(batch)
    for sample, image, probability in zip(samples, batch, probabilities, strict=True):
        assert np.abs(segmenter(image[None])[0] - probability).max() < 0.05
        assert sample.mask is not None
        assert dice(binarize(probability), sample.mask) > 0.45, sample.name


def check_environment(samples: list[Sample] = SAMPLES, segmenter: Any = vesselness) -> None:
    """The Dice of an episode is that of its own image, mask and reconstruction."""
    env = small_env(dataset=samples, segmenter=segmenter, reward="linear")
    for index, sample in enumerate(samples):
        _, info = play(env, lambda _: 3, options={"sample": index, "base_qp": 20})
        encoded = X265Codec(64, "ultrafast").encode(
            [sample.image], [uniform_map(sample.image.shape, 64, 20)]
        )[0]
        seen = binarize(vesselness(encoded.reconstruction[None])[0])
        own = SAMPLES[index].mask
        assert own is not None
        assert info["dice"] == dice(seen, own)
        assert info["dice"] > 0.45


def check_coded_map() -> None:
    """What the environment says it coded is what an independent decoder finds in the stream."""
    if not libde265.available():
        pytest.skip("no libde265")
    noise = Sample(binary_noise((192, 192)), np.ones((192, 192), bool))
    env = small_env(dataset=[noise], reward="linear")
    actions = iter([0, 3, 5, 8, 1, 4, 2, 6, 7])
    _, info = play(env, lambda _: next(actions), options={"base_qp": 22})
    assert env.result is not None
    decoded = libde265.decode(env.result.encoded.bitstream, 64)
    asked = 22 + np.array(env.qp_offsets)[[0, 3, 5, 8, 1, 4, 2, 6, 7]].reshape(3, 3)
    np.testing.assert_array_equal(info["qp_map"], asked)
    assert libde265.ctu_qps(decoded) == [[{int(qp)} for qp in row] for row in asked]


def check_anchor() -> None:
    """The anchor's row in a table is plain x265 at constant QP."""
    env = small_env(dataset=SAMPLES)
    row = code_image(env.evaluator, make_agent("anchor", env.evaluator), SAMPLES[0], 30)
    plain = plain_x265(SAMPLES[0].image, 30, 64, "ultrafast")
    assert row.sha256 == hashlib.sha256(plain).hexdigest()


def permuted(images: Batch) -> Any:
    """A segmenter that returns its batch in another order."""
    return vesselness(images)[::-1]


def transposed(images: Batch) -> Any:
    """A segmenter that mixes up rows and columns."""
    return np.ascontiguousarray(vesselness(images).transpose(0, 2, 1))


def random_network() -> NetworkSegmenter:
    """The shipped network with fresh weights."""
    card = load_segmenter().card
    assert card is not None
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return NetworkSegmenter(build(card.architecture, card.arguments))


def test_the_true_package_passes_every_check() -> None:
    check_segmenter(vesselness)
    check_segmenter(load_segmenter())
    check_environment()
    check_coded_map()
    check_anchor()


@pytest.mark.parametrize("make", [lambda: permuted, lambda: transposed, random_network])
def test_a_segmenter_of_another_order_or_random_weights_is_noticed(make: Callable[[], Any]) -> None:
    with pytest.raises(AssertionError):
        check_segmenter(make())


def test_masks_in_a_wrong_order_are_noticed() -> None:
    masks = [sample.mask for sample in SAMPLES]
    mixed = [
        Sample(sample.image, mask, sample.name)
        for sample, mask in zip(SAMPLES, [*masks[1:], masks[0]], strict=True)
    ]
    with pytest.raises(AssertionError):
        check_environment(mixed)
    with pytest.raises(AssertionError):
        check_segmenter(vesselness, mixed)


def test_a_dice_against_the_wrong_mask_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(results_module, "dice", lambda a, b: dice(a, b[::-1]))
    with pytest.raises(AssertionError):
        check_environment()


def test_a_segmenter_that_is_asked_about_the_original_is_noticed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def flattered(self: Any, reference: Any, qp_map: Any) -> Any:
        encoded = self.codec.encode([reference.sample.image], [qp_map])[0]
        return evaluator_module.encode_result(reference, encoded, reference.importance, qp_map)

    check_environment()
    monkeypatch.setattr(evaluator_module.Evaluator, "score", flattered)
    with pytest.raises(AssertionError):
        check_environment()


def test_a_map_shifted_by_a_ctu_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    def shifted(qps: Any, *rest: Any) -> Any:
        return regions_of_interest(np.roll(qps, 1, axis=1), *rest)

    monkeypatch.setattr(hevc_codec, "regions_of_interest", shifted)
    with pytest.raises(AssertionError):
        check_coded_map()


def test_an_anchor_with_another_qp_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hevc_codec, "slice_qp", lambda qps: slice_qp(qps) + 1)
    monkeypatch.setattr(hevc_codec, "regions_of_interest", lambda *_: np.empty(0, REGION))
    monkeypatch.setattr(hevc_codec, "require_working_offsets", lambda *_: None)
    with pytest.raises(AssertionError):
        check_anchor()
