from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from dmic_gym.errors import InvalidInputError, WeightsError
from dmic_gym.tasks.data.phantoms.dataset import Phantoms
from dmic_gym.tasks.segmenters.calibration import Calibration
from dmic_gym.tasks.segmenters.fit import Recipe
from dmic_gym.tasks.segmenters.fit_posterior import fit_posterior
from dmic_gym.tasks.segmenters.network import load_segmenter
from dmic_gym.tasks.segmenters.posterior import (
    Posterior,
    load_posterior,
    mirror_average,
    posterior_file,
    posterior_of,
)
from dmic_gym.tasks.segmenters.protocol import Images, Probabilities, Segmenter
from dmic_gym.tasks.segmenters.train import Network, train
from dmic_gym.tasks.segmenters.weights import SHIPPED

IDENTITY = Calibration([0.0, 1.0], [0.0, 1.0])


def leftmost(images: Images, /) -> Probabilities:
    """A segmenter with a bias: it answers in the left column only."""
    output = np.zeros(images.shape, np.float32)
    output[:, :, 0] = images[:, :, 0] / np.float32(255)
    return output


def test_the_mirrored_result_is_mirrored_back() -> None:
    image = np.arange(12, dtype=np.uint8).reshape(1, 3, 4) * 20
    expected = np.zeros((3, 4))
    expected[:, [0, 3]] = image[0][:, [0, 3]] / 255 / 2
    assert mirror_average([leftmost], image)[0] == pytest.approx(expected, abs=1e-6)


def test_members_are_averaged_and_calibrated() -> None:
    image = np.full((1, 2, 2), 255, np.uint8)

    def constant(value: float) -> Segmenter:
        return lambda images: np.full(images.shape, value, np.float32)

    posterior = Posterior([constant(0.2), constant(0.6)], Calibration([0.0, 1.0], [0.0, 0.5]))
    assert posterior(image) == pytest.approx(np.full((1, 2, 2), 0.2))
    with pytest.raises(InvalidInputError, match="at least one segmenter"):
        Posterior([], IDENTITY)


def test_files_that_are_no_posterior_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "p.json"
    with pytest.raises(WeightsError, match="no readable posterior"):
        load_posterior(path)
    path.write_text(json.dumps({"members": {}}))
    with pytest.raises(WeightsError, match="lacks calibrated, raw"):
        load_posterior(path)
    path.write_text(json.dumps({"members": {"unet": "0" * 64}, "raw": [0], "calibrated": [0]}))
    with pytest.raises(WeightsError, match="other weights of 'unet'"):
        load_posterior(path, "cpu")


def test_a_posterior_is_fitted_on_held_out_predictions(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    samples = Phantoms(4, size=64, seed=3)[:]
    network = Network("cv", "unet", {"channels": [4, 8], "dilations": [1]})
    recipe = Recipe(size=64, batch=2)
    folds = train(samples, out=tmp_path, epochs=2, folds=2, network=network, recipe=recipe)
    member = str(folds[0])
    path = fit_posterior(samples, [folds], [member], out=tmp_path, bins=6)
    content = json.loads(path.read_text())
    assert content["calibration_error"] <= content["calibration_error_raw"]
    assert sum(row["pixels"] for row in content["reliability"]) == 4 * 64 * 64
    posterior = load_posterior(path, "cpu")
    image = samples[0].image[None]
    raw = mirror_average([load_segmenter(member, "cpu")], image)
    assert np.array_equal(posterior(image), posterior.calibration(raw))
    monkeypatch.setattr("dmic_gym.tasks.segmenters.fit_posterior.MOST_PIXELS", 4 * 32 * 32)
    coarse = fit_posterior(samples, [folds], [member], out=tmp_path, name="coarse", bins=6)
    content = json.loads(coarse.read_text())
    assert sum(row["pixels"] for row in content["reliability"]) == 4 * 32 * 32
    assert np.abs(load_posterior(coarse, "cpu")(image) - posterior(image)).mean() < 0.02
    own, other = load_segmenter(member, "cpu"), load_segmenter(folds[1], "cpu")
    assert [
        made.members for made in (posterior_of(own, path), posterior_of(other, path)) if made
    ] == [
        (own,),
        (other,),
    ]
    assert posterior_file(own) == coarse  # the first one beside the weights
    coarse.unlink()
    assert posterior_of(own) is not None
    path.unlink()
    assert posterior_of(own) is None
    with pytest.raises(InvalidInputError, match="did not hold out"):
        fit_posterior(samples[::-1], [folds], [member], out=tmp_path)
    with pytest.raises(InvalidInputError, match="equally long"):
        fit_posterior(samples, [folds, folds[:1]], [member, member], out=tmp_path)


def test_the_shipped_posterior_is_calibrated_and_fits_the_shipped_network() -> None:
    posterior = load_posterior("posterior", "cpu")
    content = json.loads((SHIPPED / "posterior.json").read_text())
    assert content["calibration_error"] < content["calibration_error_raw"]
    assert content["expected_dice"] == pytest.approx(content["held_out_dice"], abs=0.03)
    sample = Phantoms(1, size=300, seed=1)[0]
    belief = posterior(sample.image[None])[0]
    assert belief.shape == (300, 300)
    assert sample.mask is not None
    assert belief[sample.mask].mean() > belief[~sample.mask].mean() + 0.3
    flipped = posterior(np.ascontiguousarray(sample.image[None, :, ::-1]))[0]
    assert np.abs(flipped[:, ::-1] - belief).max() < 0.02


def test_arcade_has_a_calibrated_posterior_for_its_network_and_its_folds() -> None:
    content = json.loads((SHIPPED / "arcade-posterior.json").read_text())
    assert content["calibration_error"] < content["calibration_error_raw"]
    assert content["expected_dice"] == pytest.approx(content["held_out_dice"], abs=0.01)
    assert content["images"] == 695
    folds = sorted((SHIPPED / "arcade-folds").glob("*.safetensors"))
    for file in [SHIPPED / "arcade-unet.safetensors", *folds]:
        network = load_segmenter(file, "cpu")
        posterior = posterior_of(network)
        assert posterior is not None
        assert posterior.members == (network,)
        assert list(posterior.calibration.raw) == content["raw"]
