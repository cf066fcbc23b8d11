"""Which segmenter: names, paths, folders of folds, objects."""

from __future__ import annotations

from pathlib import Path

import gymnasium as gym
import numpy as np
import pytest

from dmic_gym.codecs import X265Codec
from dmic_gym.envs.evaluator import Evaluator
from dmic_gym.errors import InvalidInputError, WeightsError
from dmic_gym.tasks.data.sample import Sample
from dmic_gym.tasks.segmenters import find_segmenter
from dmic_gym.tasks.segmenters.find import describe_segmenter
from dmic_gym.tasks.segmenters.fit import Recipe
from dmic_gym.tasks.segmenters.folds import FoldSegmenters
from dmic_gym.tasks.segmenters.network import NetworkSegmenter
from dmic_gym.tasks.segmenters.protocol import segmenter_for
from dmic_gym.tasks.segmenters.train import Network, train
from dmic_gym.tasks.segmenters.weights import SHIPPED
from tests.support import phantoms, vesselness

TINY = Network("tiny", "unet", {"channels": [4, 8], "dilations": [1]})


@pytest.fixture(scope="module")
def folds(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("folds")
    train(phantoms(4, 64), out=out, epochs=1, folds=2, network=TINY, recipe=Recipe(size=64))
    return out


def test_every_form_of_the_same_network(monkeypatch: pytest.MonkeyPatch) -> None:
    by_name = find_segmenter("unet")
    assert find_segmenter() is by_name
    assert find_segmenter("unet") is by_name
    monkeypatch.setenv("WEIGHTS", str(SHIPPED))
    for spec in (SHIPPED / "unet.safetensors", "$WEIGHTS/unet.safetensors"):
        found = find_segmenter(spec)
        assert isinstance(found, NetworkSegmenter)
        assert describe_segmenter(found) == describe_segmenter(by_name)
    assert find_segmenter("unet", dtype="float32").dtype_name == "float32"  # type: ignore[attr-defined]


def test_objects() -> None:
    assert find_segmenter(vesselness) is vesselness
    found = find_segmenter("tests.support:vesselness")
    described = describe_segmenter(found)
    assert described["name"] == "tests.support:vesselness"
    assert len(described["sha256"]) == 64
    shipped = describe_segmenter(find_segmenter("unet"))
    assert shipped["name"] == "unet"
    assert shipped["sha256"].startswith("82a60645a3f5")


def test_weights_that_were_trained_anew_are_loaded_anew(tmp_path: Path) -> None:
    samples = phantoms(2, 64)
    seen = []
    for seed in (0, 1):
        (path,) = train(
            samples, out=tmp_path, epochs=1, seed=seed, network=TINY, recipe=Recipe(size=64)
        )
        seen.append(describe_segmenter(find_segmenter(path))["sha256"])
    assert seen[0] != seen[1]


@pytest.mark.parametrize(
    ("spec", "error", "words"),
    [
        ("unett", InvalidInputError, "Did you mean 'unet'.*FOLDER.*module:object"),
        ("no/such.safetensors", WeightsError, "no such weights file"),
        ("$NO_SUCH_VARIABLE/a.safetensors", InvalidInputError, "export NO_SUCH_VARIABLE=FOLDER"),
        ("tests.support:ROOT", InvalidInputError, "a callable"),
        (3, InvalidInputError, "a name, a path.*got int"),
        (".", InvalidInputError, r"no \*-fold\*\.safetensors in \.\. Pass the folder"),
    ],
)
def test_what_is_no_segmenter_is_refused(
    spec: object,
    error: type[Exception],
    words: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(error, match=words):
        find_segmenter(spec)  # type: ignore[arg-type]


def test_each_image_is_judged_by_the_fold_that_has_not_seen_it(folds: Path) -> None:
    segmenter = find_segmenter(folds)
    assert isinstance(segmenter, FoldSegmenters)
    samples = phantoms(4, 64)
    names = [describe_segmenter(segmenter_for(segmenter, sample))["name"] for sample in samples]
    assert names == ["tiny-fold0"] * 2 + ["tiny-fold1"] * 2
    varied = Sample(samples[3].image, samples[3].mask, "phantom-0-0003~2")
    assert segmenter_for(segmenter, varied) is segmenter_for(segmenter, samples[3])
    assert segmenter_for(vesselness, varied) is vesselness
    with pytest.raises(InvalidInputError, match=r"None of the 2 folds in .* without stranger"):
        segmenter.for_sample(Sample(samples[0].image, None, "stranger"))
    with pytest.raises(InvalidInputError, match="call for_sample"):
        segmenter(np.zeros((1, 8, 8), np.uint8))
    assert describe_segmenter(segmenter)["name"] == "tiny-fold0, tiny-fold1"
    assert (
        describe_segmenter(segmenter)["sha256"]
        == describe_segmenter(find_segmenter(folds))["sha256"]
    )


def test_an_environment_is_judged_by_the_folds(folds: Path) -> None:
    """One encode at a time, many at once, and with a mask from each image's own network."""
    samples = phantoms(4, 64)
    segmenter = FoldSegmenters(folds)
    alone, many = (Evaluator(X265Codec(), segmenter, workers=n) for n in (1, 3))
    references = many.references(samples)
    for reference in references:
        own = segmenter.for_sample(reference.sample)
        assert np.array_equal(reference.importance, own(reference.sample.image[None])[0])
    jobs = [(reference, np.array([[40]])) for reference in references]
    for (reference, qp_map), found in zip(jobs, many.score_all(jobs), strict=True):
        assert not isinstance(found, Exception)
        expected = alone.score(alone.reference(reference.sample), qp_map)
        assert found.figures == expected.figures
    many.close()
    env = gym.make("CodingEnv-v0", dataset=samples, segmenter=folds, preset="ultrafast")
    env.reset(seed=0)
    assert env.step(0)[4]["bits"] > 0
    env.close()
