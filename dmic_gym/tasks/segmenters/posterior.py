"""What an encoder can know of the expert's mask: a calibrated probability map."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from dmic_gym.errors import InvalidInputError, WeightsError
from dmic_gym.tasks.segmenters.calibration import Calibration
from dmic_gym.tasks.segmenters.find import find_segmenter
from dmic_gym.tasks.segmenters.protocol import (
    Segmenter,
    check_images,
    check_probabilities,
)
from dmic_gym.tasks.segmenters.weights import SHIPPED
from dmic_gym.types import Images, Probabilities


class Posterior:
    """Calibrated mean over an ensemble and over the image and its mirror; a ``Segmenter`` itself.

    Args:
        members: the ensemble, one segmenter at least.
        calibration: raw mean probability to calibrated probability.
    """

    def __init__(self, members: Sequence[Segmenter], calibration: Calibration) -> None:
        if not members:
            raise InvalidInputError("A posterior needs at least one segmenter.")
        self.members = tuple(members)
        self.calibration = calibration

    def __call__(self, images: Images, /) -> Probabilities:
        """Return float32 (N, H, W): the chance that an expert marks the pixel.

        Args:
            images: uint8 array (N, H, W).
        """
        return self.calibration(mirror_average(self.members, images))


def mirror_average(members: Sequence[Segmenter], images: Images) -> Probabilities:
    """Average the probabilities of all members over each image and its mirror, left to right.

    Args:
        members: segmenters.
        images: uint8 array (N, H, W).

    Returns:
        float32 array (N, H, W).
    """
    images = check_images(images)
    total = np.zeros(images.shape, np.float64)
    for member in members:
        mirrored = np.ascontiguousarray(images[:, :, ::-1])
        total += check_probabilities(member(images), images)
        total += check_probabilities(member(mirrored), mirrored)[:, :, ::-1]
    return (total / (2 * len(members))).astype(np.float32)


def load_posterior(
    name_or_path: str | Path = "posterior", device: str = "auto", dtype: str = "auto"
) -> Posterior:
    """Load a posterior: a JSON file that names its networks and holds its calibration.

    Args:
        name_or_path: ``"posterior"`` (shipped), or the path of a JSON file written by
            `fit_posterior`.
        device: a torch device, or ``"auto"``.
        dtype: of its networks, see `find_segmenter`.

    Raises:
        WeightsError: the file is missing or damaged, or one of its networks is not the one that
            it was fitted for.
    """
    content = _content(name_or_path)
    names = content["members"]
    members = [find_segmenter(name, device=device, dtype=dtype) for name in names]
    return _posterior(content, dict(zip(names, members, strict=True)))


def posterior_of(segmenter: Segmenter, path: str | Path | None = None) -> Posterior | None:
    """Return the posterior that belongs to a segmenter, or None where there is none.

    The network that a posterior names gets it whole; one of the folds that it was fitted on gets
    its calibration. The segmenter itself does the work: no network is loaded a second time.

    Args:
        segmenter: with a card, or there is none.
        path: of the posterior; None looks among those that are shipped and beside the weights.

    Raises:
        WeightsError: as `load_posterior`.
    """
    path = path or posterior_file(segmenter)
    if path is None:
        return None
    content, own = _content(path), _sha256(segmenter)
    if own in content.get("folds", ()):
        return Posterior([segmenter], _calibration(content))
    members = {
        name: segmenter if sha256 == own else find_segmenter(name)
        for name, sha256 in content["members"].items()
    }
    return _posterior(content, members)


def posterior_file(segmenter: Segmenter) -> Path | None:
    """Return the file that names a segmenter's weights, shipped or beside them, or None."""
    own = _sha256(segmenter)
    beside: Path | None = getattr(segmenter, "folder", None)
    for folder in (SHIPPED, beside) if own else ():
        for path in sorted(folder.glob("*.json")) if folder else ():
            if own in _named_in(path):
                return path
    return None


def _named_in(path: Path) -> set[str]:
    """Return the hashes of the networks that a posterior names; none of a card or another file."""
    if path.with_suffix(".safetensors").exists():
        return set()
    try:
        content = json.loads(path.read_text())
        return {*content["members"].values(), *content["folds"]}
    except (OSError, ValueError, TypeError, KeyError, AttributeError):
        return set()


def _sha256(segmenter: Segmenter) -> str | None:
    """Return the hash of a segmenter's weights, or None where it has no card."""
    card = getattr(segmenter, "card", None)
    return None if card is None else card.sha256


def _posterior(content: dict[str, Any], members: Mapping[str, Segmenter]) -> Posterior:
    for name, member in members.items():
        if _sha256(member) != content["members"][name]:
            raise WeightsError(
                f"The posterior was fitted for other weights of {name!r}; fit it again."
            )
    return Posterior(list(members.values()), _calibration(content))


def _calibration(content: dict[str, Any]) -> Calibration:
    return Calibration(content["raw"], content["calibrated"])


def _content(name_or_path: str | Path) -> dict[str, Any]:
    path = Path(name_or_path)
    path = path if path.suffix else SHIPPED / f"{name_or_path}.json"
    try:
        content: dict[str, Any] = json.loads(path.read_text())
        missing = {"members", "raw", "calibrated"} - content.keys()
    except (OSError, ValueError, AttributeError) as error:
        raise WeightsError(f"{path}: no readable posterior ({error}).") from error
    if missing:
        raise WeightsError(f"{path}: not a posterior, it lacks {', '.join(sorted(missing))}.")
    return content
