import os
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

from dmic_gym.errors import DataError, InvalidInputError
from dmic_gym.tasks.data import ImageFolder, Phantoms, Sample, load_dataset
from dmic_gym.tasks.data.sequence import names_of


def test_name_gives_phantoms_with_options() -> None:
    phantoms = load_dataset("phantoms", count=3, size=(40, 50), seed=9)
    assert isinstance(phantoms, Phantoms)
    assert len(phantoms) == 3
    assert np.array_equal(phantoms[1].image, Phantoms(3, (40, 50), 9)[1].image)


def test_path_gives_a_folder(tmp_path: Path) -> None:
    folder = tmp_path / "phantoms"
    folder.mkdir()
    cv2.imwrite(str(folder / "a.png"), np.full((8, 8), 7, np.uint8))
    for spec in (folder, str(folder)):
        dataset = load_dataset(spec)
        assert isinstance(dataset, ImageFolder)
        assert dataset[0].name == "a"


def test_sequence_is_returned_as_it_is() -> None:
    samples = [Sample(np.zeros((4, 4), np.uint8))]
    assert load_dataset(samples) is samples
    phantoms = Phantoms(2, 16)
    assert load_dataset(phantoms) is phantoms


def test_misspelt_name_and_option_are_corrected() -> None:
    for spelling in ("phantom", "Phantoms"):
        with pytest.raises(InvalidInputError, match="Did you mean 'phantoms'"):
            load_dataset(spelling)
    with pytest.raises(InvalidInputError, match="Did you mean 'count'"):
        load_dataset("phantoms", counts=3)


def test_missing_folder_is_a_data_error(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="nowhere"):
        load_dataset(tmp_path / "nowhere")
    with pytest.raises(InvalidInputError, match="takes no options"):
        load_dataset(tmp_path, count=3)


@pytest.mark.parametrize("spec", [None, 3, b"phantoms", ""])
def test_anything_else_is_refused(spec: object) -> None:
    with pytest.raises(InvalidInputError, match="phantoms"):
        load_dataset(spec)  # type: ignore[arg-type]


def test_items_that_are_no_samples_are_named() -> None:
    sample = Sample(np.zeros((4, 4), np.uint8))
    with pytest.raises(InvalidInputError, match=r"Item 1 .* int"):
        load_dataset([sample, 3])
    with pytest.raises(InvalidInputError, match=r"\[sample\]"):
        load_dataset(sample)  # type: ignore[arg-type]


def test_importing_the_package_does_not_import_cv2() -> None:
    code = (
        "import sys, dmic_gym.tasks.data; from dmic_gym.tasks.data.sample import Sample;"
        "assert 'cv2' not in sys.modules; from dmic_gym.tasks.data import Phantoms;"
        "assert 'cv2' in sys.modules; assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_options_behind_a_question_mark(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = load_dataset("phantoms?count=4&size=40,50&seed=9")
    assert isinstance(data, Phantoms)
    assert data[1].image.shape == (40, 50)
    assert load_dataset("phantoms?count=4", count=2)[-1].name == "phantom-0-0001"
    folder = tmp_path / "odd?name"
    folder.mkdir()
    for name in "abc":
        cv2.imwrite(str(folder / f"{name}.png"), np.full((8, 8), 7, np.uint8))
    monkeypatch.setenv("PLACE", str(tmp_path))
    assert len(load_dataset("$PLACE/odd?name")) == 3
    with pytest.raises(InvalidInputError, match="export NO_SUCH_PLACE=FOLDER"):
        load_dataset("$NO_SUCH_PLACE/images")
    for spec in ("phantoms?count", "phantoms?count=3&size"):
        with pytest.raises(InvalidInputError, match="option=value"):
            load_dataset(spec)


def test_select_takes_a_slice_of_any_data_set() -> None:
    data = load_dataset("phantoms?count=900&size=16&select=100::300")
    assert names_of(data) == ["phantom-0-0100", "phantom-0-0400", "phantom-0-0700"]
    assert [sample.name for sample in data] == names_of(data)
    assert data[-1].name == "phantom-0-0700"
    assert [sample.name for sample in data[1:]] == names_of(data)[1:]
    samples = Phantoms(3, 16)[:]
    assert load_dataset(samples, select="::-1") == samples[::-1]
    take: object
    for take in ("9::", "2:1"):
        with pytest.raises(InvalidInputError, match="takes none of the 3 items"):
            load_dataset(samples, select=take)
    for take in ("::0", "a", 3, "1:2:3:4"):
        with pytest.raises(InvalidInputError, match="START:STOP:STEP"):
            load_dataset(samples, select=take)


@pytest.mark.skipif("DMIC_DATA" not in os.environ, reason="DMIC_DATA is not set")
@pytest.mark.parametrize(
    "spec",
    ["angiograms", "arcade?split=val&select=::40", "$DMIC_DATA/davis2016?select=::90"],
)
def test_names_are_known_without_reading(spec: str, monkeypatch: pytest.MonkeyPatch) -> None:
    data = load_dataset(spec)
    read = [sample.name for sample in data]
    monkeypatch.setattr(Sample, "__post_init__", None)  # no sample can be made
    assert names_of(data) == read
