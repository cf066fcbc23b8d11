import pickle
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image as PillowImage

from dmic_gym.errors import DataError
from dmic_gym.tasks.data import ImageFolder

Pixels = npt.NDArray[np.uint8] | npt.NDArray[np.uint16]
GREY = np.random.default_rng(0).integers(0, 256, (20, 30), dtype=np.uint8)
MASK = np.zeros((20, 30), np.uint8)
MASK[5:12, 8:20] = 255


def save(path: Path, pixels: Pixels) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(cv2.imencode(path.suffix.lower(), pixels)[1].tobytes())
    return path


@pytest.mark.parametrize("suffix", [".png", ".pgm", ".tif", ".tiff", ".bmp", ".PNG"])
def test_mask_beside_image(tmp_path: Path, suffix: str) -> None:
    save(tmp_path / f"b{suffix}", GREY)
    save(tmp_path / "b_gt.png", MASK)
    save(tmp_path / "a.png", GREY[::-1])
    (tmp_path / "notes.txt").write_text("not an image")
    folder = ImageFolder(tmp_path)
    assert [s.name for s in folder] == ["a", "b"]
    assert folder[0].mask is None
    assert np.array_equal(folder[1].image, GREY)
    assert np.array_equal(folder[1].mask, MASK > 0)  # type: ignore[arg-type]


@pytest.mark.parametrize("ending", ["", "_gt", "_mask"])
def test_images_and_masks_folders(tmp_path: Path, ending: str) -> None:
    save(tmp_path / "images" / "x.png", GREY)
    save(tmp_path / "images" / "y.png", GREY)
    save(tmp_path / "masks" / f"x{ending}.png", MASK)
    first, second = ImageFolder(str(tmp_path))[:]
    assert np.array_equal(first.mask, MASK > 0)  # type: ignore[arg-type]
    assert second.mask is None


def test_path_with_spaces_and_accents(tmp_path: Path) -> None:
    save(tmp_path / "mes donnees \u00e9\u00e8 \u5fc3" / "c\u0153ur 1.png", GREY)
    sample = ImageFolder(tmp_path / "mes donnees \u00e9\u00e8 \u5fc3")[0]
    assert sample.name == "c\u0153ur 1"
    assert np.array_equal(sample.image, GREY)


def test_colour_becomes_luma_and_alpha_is_ignored(tmp_path: Path) -> None:
    bgr = np.zeros((4, 4, 3), np.uint8)
    bgr[..., 2] = 200
    save(tmp_path / "red.png", bgr)
    save(tmp_path / "seen.png", np.dstack([bgr, np.zeros((4, 4), np.uint8)]))
    for sample in ImageFolder(tmp_path):
        assert set(sample.image.ravel().tolist()) == {60}


def test_jpeg_mask_noise_is_not_a_vessel(tmp_path: Path) -> None:
    save(tmp_path / "a.png", GREY)
    path = save(tmp_path / "a_gt.jpg", MASK)
    read = cv2.imdecode(np.fromfile(path, np.uint8), 0)
    assert read is not None
    assert np.any((read > 0) & (MASK == 0))
    assert np.array_equal(ImageFolder(tmp_path)[0].mask, MASK > 0)  # type: ignore[arg-type]


@pytest.mark.parametrize("top", [0, 1, 255])
def test_mask_of_zeros_and_ones_or_empty(tmp_path: Path, top: int) -> None:
    save(tmp_path / "a.png", GREY)
    save(tmp_path / "a_gt.png", (MASK > 0).astype(np.uint8) * np.uint8(top))
    mask = ImageFolder(tmp_path)[0].mask
    assert mask is not None
    assert np.array_equal(mask, (MASK > 0) & (top > 0))


def test_other_mask_values_are_refused(tmp_path: Path) -> None:
    save(tmp_path / "a.png", GREY)
    save(tmp_path / "a_gt.png", MASK // 127)
    with pytest.raises(DataError, match=r"a_gt\.png.*up to 2.*0 and 255, or 0 and 1"):
        ImageFolder(tmp_path)[0]


def test_missing_folder_names_the_nearest(tmp_path: Path) -> None:
    (tmp_path / "angiograms").mkdir()
    with pytest.raises(DataError, match=r"Did you mean '.*angiograms'"):
        ImageFolder(tmp_path / "angiogram")
    with pytest.raises(DataError, match="nearest folder that exists is"):
        ImageFolder(tmp_path / "q" / "r" / "s")
    file = save(tmp_path / "a.png", GREY)
    with pytest.raises(DataError, match="is a file, not a folder; pass"):
        ImageFolder(file)


def test_no_images_says_what_was_looked_for(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"No images.*png\|pgm.*masks/NAME"):
        ImageFolder(tmp_path)
    save(tmp_path / "a_gt.png", MASK)
    with pytest.raises(DataError, match="only 1 masks"):
        ImageFolder(tmp_path)


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".tif", ".bmp", ".pgm"])
@pytest.mark.parametrize("keep", [0.0, 0.3, 0.9])
def test_broken_file_is_named_without_noise(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], suffix: str, keep: float
) -> None:
    path = save(tmp_path / f"bad{suffix}", np.tile(GREY, (6, 6)))
    path.write_bytes(path.read_bytes()[: int(keep * path.stat().st_size)])
    with pytest.raises(DataError, match=rf"bad\{suffix}"):
        ImageFolder(tmp_path)[0]
    assert capfd.readouterr() == ("", "")


def test_vanished_file_is_named(tmp_path: Path) -> None:
    path = save(tmp_path / "a.png", GREY)
    folder = ImageFolder(tmp_path)
    path.unlink()
    with pytest.raises(DataError, match=r"Cannot read .*a\.png"):
        folder[0]


def test_sixteen_bits_are_refused_with_advice(tmp_path: Path) -> None:
    save(tmp_path / "deep.png", GREY.astype(np.uint16) * 256)
    with pytest.raises(DataError, match=r"deep\.png.*uint16.*Convert it to 8 bits"):
        ImageFolder(tmp_path)[0]


def test_mask_of_another_size_names_both(tmp_path: Path) -> None:
    save(tmp_path / "a.png", GREY)
    save(tmp_path / "a_gt.png", MASK[:10])
    with pytest.raises(DataError, match=r"a_gt\.png.*10 x 30.*a\.png.*20 x 30"):
        ImageFolder(tmp_path)[0]


def test_duplicate_stems_and_masks_are_refused(tmp_path: Path) -> None:
    save(tmp_path / "one" / "a.png", GREY)
    save(tmp_path / "one" / "a.bmp", GREY)
    with pytest.raises(DataError, match=r"a\.bmp.*a\.png.*same stem"):
        ImageFolder(tmp_path / "one")
    save(tmp_path / "two" / "a.png", GREY)
    save(tmp_path / "two" / "a_gt.png", MASK)
    save(tmp_path / "two" / "a_mask.png", MASK)
    with pytest.raises(DataError, match="Two masks for 'a'"):
        ImageFolder(tmp_path / "two")


def test_a_mask_without_image_is_named(tmp_path: Path) -> None:
    save(tmp_path / "a.png", GREY)
    save(tmp_path / "b_gt.png", MASK)
    with pytest.warns(UserWarning, match=r"1 masks in .* belong to no image: b_gt\.png"):
        folder = ImageFolder(tmp_path)
    assert len(folder) == 1


@pytest.mark.parametrize("mask", ["01_GT.PNG", "01_gt.gif", "01_Mask.tif", "01_mask.webp"])
def test_a_mask_of_any_format_and_case_pairs_up(mask: str, tmp_path: Path) -> None:
    save(tmp_path / "01.png", GREY)
    PillowImage.fromarray(MASK).save(tmp_path / mask, lossless=True)
    assert np.array_equal(ImageFolder(tmp_path)[0].mask, MASK > 0)  # type: ignore[arg-type]


def test_files_of_several_pictures_are_refused(tmp_path: Path) -> None:
    pages = [PillowImage.fromarray(each) for each in (GREY, GREY[::-1])]
    for name, format in (("a.tif", "TIFF"), ("b.png", "PNG"), ("c.jpg", "MPO"), ("d.gif", "GIF")):
        pages[0].save(tmp_path / name, format, save_all=True, append_images=pages[1:])
    (tmp_path / "e.pgm").write_bytes((b"P5 30 20 255\n" + GREY.tobytes()) * 2)
    folder = ImageFolder(tmp_path)
    for index, name in enumerate("abcde"):
        with pytest.raises(DataError, match=rf"{name}\..*(2 pictures|more than one picture)"):
            folder[index]


def test_sequence_and_pickle(tmp_path: Path) -> None:
    for name in "cab":
        save(tmp_path / f"{name}.png", GREY)
    folder = pickle.loads(pickle.dumps(ImageFolder(tmp_path)))
    assert [s.name for s in folder[1:]] == ["b", "c"]
    assert folder[-1].name == "c"
    for index in (3, -4):
        with pytest.raises(IndexError, match="3 images"):
            folder[index]
    assert folder[0].image is not folder[0].image
    assert np.array_equal(folder[0].image, GREY)
