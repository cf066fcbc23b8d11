from __future__ import annotations

import copy
import pickle
import random
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import torch

from dmic_gym.errors import InvalidInputError, WeightsError
from dmic_gym.tasks.data.phantoms.dataset import Phantoms
from dmic_gym.tasks.metrics import binarize, dice
from dmic_gym.tasks.segmenters.architectures import ARCHITECTURES, build
from dmic_gym.tasks.segmenters.layers import fuse_normalisation
from dmic_gym.tasks.segmenters.network import NetworkSegmenter, load_segmenter
from dmic_gym.tasks.segmenters.weights import (
    SHIPPED,
    Card,
    find_weights,
    load_weights,
    save_weights,
    shipped_names,
)

Images = npt.NDArray[np.uint8]


@pytest.fixture(scope="module")
def unet() -> NetworkSegmenter:
    return load_segmenter("unet", device="cpu")


@pytest.fixture(scope="module")
def images() -> Images:
    return np.stack([sample.image for sample in Phantoms(3, size=96, seed=5)])


def small_network(folder: Path, seed: int = 0) -> Path:
    torch.manual_seed(seed)
    arguments = {"channels": [4, 4, 8], "dilations": [1]}
    card = Card("small", "unet", arguments)
    return save_weights(build("unet", arguments).state_dict(), card, folder)


def test_output_is_a_probability_per_pixel(unet: NetworkSegmenter, images: Images) -> None:
    output = unet(images)
    assert output.shape == images.shape
    assert output.dtype == np.float32
    assert output.min() >= 0.0
    assert output.max() <= 1.0
    assert unet(images[:0]).shape == (0, 96, 96)


def test_it_finds_the_vessels_of_a_phantom(unet: NetworkSegmenter) -> None:
    samples = Phantoms(3, size=200, seed=11)[:]
    truths = [s.mask for s in samples if s.mask is not None]
    scores = [
        dice(binarize(unet(s.image[None])[0]), m) for s, m in zip(samples, truths, strict=True)
    ]
    torch.manual_seed(0)
    blind = NetworkSegmenter(build("unet"), "cpu")
    chance = [
        dice(binarize(blind(s.image[None])[0]), m) for s, m in zip(samples, truths, strict=True)
    ]
    assert np.mean(scores) > 0.5
    assert np.mean(chance) < np.mean(scores) - 0.3


def test_an_image_does_not_see_its_batch(unet: NetworkSegmenter, images: Images) -> None:
    together = unet(images)
    assert np.array_equal(unet(images[[2, 0, 1]]), together[[2, 0, 1]])
    assert np.array_equal(unet(images[1:2])[0], together[1])
    assert not np.array_equal(together[0], together[1])


@pytest.mark.parametrize("shape", [(1, 1), (1, 9), (37, 1), (15, 17), (33, 64), (301, 299)])
@pytest.mark.parametrize("architecture", sorted(ARCHITECTURES))
def test_any_size(architecture: str, shape: tuple[int, int]) -> None:
    segmenter = NetworkSegmenter(build(architecture), "cpu")
    image = np.random.default_rng(0).integers(0, 256, (1, *shape), np.uint8)
    assert segmenter(image).shape == image.shape
    assert np.isfinite(segmenter(image)).all()


@pytest.mark.parametrize("shape", [(1, 1), (33, 64), (96, 96), (301, 299)])
def test_a_network_at_half_resolution_sees_the_averaged_picture(shape: tuple[int, int]) -> None:
    torch.manual_seed(0)
    half = build("unet", {"channels": [4, 8], "dilations": [1], "shrink": 2}).eval()
    whole = build("unet", {"channels": [4, 8], "dilations": [1]}).eval()
    whole.load_state_dict(half.state_dict())
    x = torch.rand(1, 1, *shape)
    padded = torch.nn.functional.pad(x, (0, -shape[1] % 4, 0, -shape[0] % 4), mode="replicate")
    with torch.no_grad():
        logits = whole(torch.nn.functional.avg_pool2d(padded, 2))
        large = torch.nn.functional.interpolate(logits, scale_factor=2.0, mode="bilinear")
        assert torch.allclose(half(x), large[..., : shape[0], : shape[1]], atol=1e-6)


def test_a_shrink_out_of_range_is_refused() -> None:
    for shrink in (0, 9):
        with pytest.raises(WeightsError, match=r"shrink \d is outside 1\.\.8"):
            build("unet", {"shrink": shrink})


def test_pickle_and_deepcopy_reload_the_weights(unet: NetworkSegmenter, images: Images) -> None:
    data = pickle.dumps(unet)
    assert len(data) < 500
    expected = unet(images)
    assert np.array_equal(pickle.loads(data)(images), expected)
    assert np.array_equal(copy.deepcopy(unet)(images), expected)


def test_a_pickle_refuses_weights_that_changed(tmp_path: Path) -> None:
    data = pickle.dumps(load_segmenter(small_network(tmp_path), "cpu"))
    assert isinstance(pickle.loads(data), NetworkSegmenter)
    small_network(tmp_path, seed=1)
    with pytest.raises(WeightsError, match="changed since"):
        pickle.loads(data)


def test_a_network_of_ones_own_is_pickled_whole(images: Images) -> None:
    segmenter = NetworkSegmenter(build("unet", {"channels": [4, 4]}), "cpu")
    again = pickle.loads(pickle.dumps(segmenter))
    assert np.array_equal(again(images), segmenter(images))


def test_threads_may_share_it(unet: NetworkSegmenter, images: Images) -> None:
    batches = [images[random.Random(k).sample(range(3), 3)] for k in range(8)]
    expected = [unet(batch) for batch in batches]
    with ThreadPoolExecutor(4) as pool:
        results = list(pool.map(unet, batches))
    assert all(np.array_equal(a, b) for a, b in zip(results, expected, strict=True))


def test_inference_leaves_torch_as_it_was(unet: NetworkSegmenter, images: Images) -> None:
    before = torch.get_num_threads(), torch.get_rng_state(), torch.is_grad_enabled()
    unet(images)
    load_segmenter("unet", device="cpu")
    assert torch.get_num_threads() == before[0]
    assert torch.equal(torch.get_rng_state(), before[1])
    assert torch.is_grad_enabled() == before[2]


def test_forms_agree(images: Images) -> None:
    exact = load_segmenter("unet", "cpu", "float32")(images)
    fast = load_segmenter("unet", "cpu", "bfloat16")(images)
    assert np.abs(exact - fast).mean() < 0.01
    assert dice(binarize(exact), binarize(fast)) > 0.97


@pytest.mark.parametrize("architecture", sorted(ARCHITECTURES))
def test_fusing_keeps_the_function(architecture: str) -> None:
    torch.manual_seed(0)
    module = build(architecture).train()
    x = torch.rand(2, 1, 48, 48)
    with torch.no_grad():
        module(x)
        expected = module.eval()(x)
        assert torch.allclose(fuse_normalisation(module)(x), expected, atol=1e-4)


@pytest.mark.parametrize("name", shipped_names())
def test_shipped_weights_have_honest_cards(name: str) -> None:
    _, card = load_weights(name)
    assert card.name == name
    assert "train-segmenter" in card.command
    assert card.data
    assert 0.5 < card.metrics["test_dice"] < 1.0
    assert card.metrics["looks_at_test"]
    assert load_segmenter(name, "cpu").card == card


def test_the_shipped_folds_hold_out_each_image_once() -> None:
    folder = SHIPPED / "arcade-folds"
    cards = [load_weights(path)[1] for path in sorted(folder.glob("*.safetensors"))]
    held_out = [set(card.metrics["held_out"]) for card in cards]
    assert sum(map(len, held_out)) == len(set().union(*held_out)) == 695
    for card, names in zip(cards, held_out, strict=True):
        assert set(card.metrics["trained_on"]) == set().union(*held_out) - names
        assert "--folds 3" in card.command


def test_shipped_weights_are_small() -> None:
    assert sum(p.stat().st_size for p in SHIPPED.iterdir()) < 8e6
    assert sum(p.stat().st_size for p in (SHIPPED / "arcade-folds").iterdir()) < 11e6


def test_wrong_names_are_refused() -> None:
    with pytest.raises(InvalidInputError, match="Did you mean 'unet'"):
        load_segmenter("unett")
    with pytest.raises(InvalidInputError, match="Pass 'auto' or 'cpu'"):
        load_segmenter("unet", device="gpu")
    with pytest.raises(InvalidInputError, match="float32"):
        load_segmenter("unet", dtype="float16")
    with pytest.raises(WeightsError, match="no such weights file"):
        load_segmenter("nowhere/net.safetensors")


def test_the_same_file_by_name_and_by_path(unet: NetworkSegmenter, images: Images) -> None:
    by_path = load_segmenter(find_weights("unet"), "cpu")
    assert np.array_equal(by_path(images), unet(images))


def test_weights_of_another_network_are_refused(tmp_path: Path) -> None:
    tensors, _ = load_weights(small_network(tmp_path))
    save_weights(tensors, Card("wrong", "unet", {"channels": [4, 8, 8]}), tmp_path)
    with pytest.raises(WeightsError, match="does not fit the network"):
        load_segmenter(tmp_path / "wrong.safetensors")
