"""Folders of clips of one's own: which layouts are read, and what is said of the others."""

from __future__ import annotations

import pickle
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image as PillowImage

from dmic_gym.errors import DataError, InvalidInputError
from dmic_gym.tasks.data import Clip, ClipFolder, load_clips, load_dataset
from dmic_gym.tasks.data.clips import assembly
from dmic_gym.tasks.data.clips.registry import is_clips
from dmic_gym.tasks.data.sequence import names_of
from dmic_gym.tasks.registry import task_of

FRAMES = np.random.default_rng(5).integers(0, 256, (12, 20, 31), dtype=np.uint8)


def write(folder: Path, count: int, masks: int = 0, digits: int = 5) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for n in range(count):
        cv2.imwrite(str(folder / f"f{n:0{digits}}.png"), FRAMES[n])
        if n < masks:
            cv2.imwrite(str(folder / f"f{n:0{digits}}_gt.png"), (FRAMES[n] > 127) * np.uint8(255))
    return folder


def test_each_subfolder_is_a_clip(tmp_path: Path) -> None:
    write(tmp_path / "all", 3, masks=3)
    write(tmp_path / "first", 3, masks=1)
    write(tmp_path / "none", 2)
    (tmp_path / "notes").mkdir()
    (tmp_path / ".hidden").mkdir()
    clips = pickle.loads(pickle.dumps(load_clips(tmp_path)))
    assert clips.names == ["all", "first", "none"]
    whole, first, none = clips
    read = np.asarray(PillowImage.open(tmp_path / "all" / "f00002.png"))
    assert np.array_equal(whole.frames[2], read)
    assert np.array_equal(whole.masks, FRAMES[:3] > 127)
    assert first.masks is None
    assert np.array_equal(first.first_mask, FRAMES[0] > 127)
    assert (none.masks, none.first_mask, len(none)) == (None, None, 2)
    assert names_of(load_clips(f"{tmp_path}?select=1:")) == ["first", "none"]
    assert len(clips[1:]) == 2
    with pytest.raises(IndexError, match="3 clips in"):
        clips[3]


def test_a_folder_of_frames_is_one_clip(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (clip,) = load_clips(write(tmp_path / "run", 4))
    assert (clip.name, len(clip)) == ("run", 4)
    write(tmp_path / "pair" / "images", 2)
    write(tmp_path / "pair" / "masks", 0)
    cv2.imwrite(str(tmp_path / "pair" / "masks" / "f00000.png"), (FRAMES[0] > 127) * np.uint8(255))
    (pair,) = load_clips(tmp_path / "pair")
    assert pair.first_mask is not None
    assert np.array_equal(pair.first_mask, FRAMES[0] > 127)
    monkeypatch.chdir(tmp_path / "run")
    assert names_of(load_clips(".")) == ["run"]


def test_frames_come_by_their_numbers(tmp_path: Path) -> None:
    (clip,) = load_clips(write(tmp_path, 12, digits=1))
    assert np.array_equal(clip.frames, FRAMES)  # f2 before f10


def test_options_cut_and_scale(tmp_path: Path) -> None:
    write(tmp_path / "run", 9, masks=9)
    (clip,) = load_clips(f"{tmp_path}?start=2&frames=3")
    assert np.array_equal(clip.frames, FRAMES[2:5])
    assert clip.masks is not None
    assert np.array_equal(clip.masks, FRAMES[2:5] > 127)
    (small,) = load_clips(tmp_path, size=16, frames=1)
    assert small.shape == (16, 24)  # 31 * 16 / 20 is 25, and the last column goes
    with pytest.raises(InvalidInputError, match=r"Unknown option .*'sequences'.*Valid: frames"):
        load_clips(tmp_path, sequences="run")
    with pytest.raises(InvalidInputError, match="start must be 0 or more"):
        ClipFolder(tmp_path, start=-1)


def test_clips_that_do_not_hold_together_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path / "some", 4, masks=2)
    with pytest.raises(DataError, match=r"some': 2 of 4 frames have no mask, as 'f00002'"):
        load_clips(tmp_path)[0]
    cv2.imwrite(str(tmp_path / "some" / "f00003.png"), FRAMES[0, :8])
    with pytest.raises(DataError, match=r"one size, not \(20, 31\) \(f00000\) and \(8, 31\)"):
        load_clips(tmp_path)[0]
    monkeypatch.setattr(assembly, "MAX_BYTES", 1000)
    with pytest.raises(DataError, match=r"too many for a clip.*frames="):
        load_clips(tmp_path)[0]
    (tmp_path / "some.avi").write_bytes(b"")
    with pytest.raises(DataError, match="would both be clip 'some'"):
        load_clips(tmp_path)


def test_what_holds_no_clips_says_what_was_looked_for(tmp_path: Path) -> None:
    (tmp_path / "empty" / "deeper" / "still").mkdir(parents=True)
    with pytest.raises(DataError, match=r"No clips in .*subfolder a clip with frames NAME\.png"):
        load_clips(tmp_path / "empty")
    with pytest.raises(DataError, match=r"Did you mean .*empty"):
        load_clips(tmp_path / "emty")


def test_words_that_name_no_clips(tmp_path: Path) -> None:
    with pytest.raises(InvalidInputError, match="Did you mean 'phantom-clips'"):
        load_clips("phantoms-clip")
    with pytest.raises(InvalidInputError, match="Valid: davis-clips, phantom-clips"):
        load_clips("")
    with pytest.raises(InvalidInputError, match=r"\[clip\]"):
        load_clips(Clip(FRAMES))  # type: ignore[arg-type]
    with pytest.raises(InvalidInputError, match="got int"):
        load_clips(3)  # type: ignore[arg-type]
    with pytest.raises(InvalidInputError, match="takes no options but select"):
        load_clips([Clip(FRAMES)], size=16)
    with pytest.raises(InvalidInputError, match="takes none of the 1 items"):
        load_clips([Clip(FRAMES)], select="1:")


def test_clips_are_told_from_images(tmp_path: Path) -> None:
    write(tmp_path / "clips" / "run", 2)
    write(tmp_path / "sets" / "train", 2)
    assert is_clips(tmp_path / "clips")
    assert is_clips("phantom-clips?count=2")
    assert is_clips([Clip(FRAMES)])
    with pytest.raises(InvalidInputError, match=r"clips' holds clips, not images.*load_clips"):
        load_dataset(tmp_path / "clips")
    with pytest.raises(InvalidInputError, match="list holds clips, not images"):
        load_dataset([Clip(FRAMES)])
    images: list[object] = [tmp_path / "clips/run", tmp_path / "sets", tmp_path, "phantoms", "$NO"]
    for spec in (*images, [], 3):
        assert not is_clips(spec)
    own = [Clip(FRAMES)]
    assert load_clips(own) is own
    assert task_of(own).load_clips() is own
    assert task_of(own).leakage() == []
