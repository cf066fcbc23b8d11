"""What an encoder can know of the expert's mask: a calibrated probability map."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from dmic_gym.errors import InvalidInputError, WeightsError
from dmic_gym.tasks.segmenters.calibration import Calibration
from dmic_gym.tasks.segmenters.find import describe_segmenter, find_segmenter
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
            :func:`~dmic_gym.tasks.segmenters.fit_posterior.fit_posterior`.
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


def posterior_of(segmenter: Segmenter) -> Posterior | None:
    """Return the shipped posterior that belongs to a segmenter, or None where there is none.

    The network that a posterior names gets it whole; one of the folds that it was fitted on gets
    its calibration. The segmenter itself does the work: no network is loaded a second time.

    Raises:
        WeightsError: as `load_posterior`.
    """
    card = getattr(segmenter, "card", None)
    if card is None:
        return None
    for path in sorted(SHIPPED.glob("*posterior*.json")):
        content = _content(path)
        if card.sha256 in content.get("folds", ()):
            return Posterior([segmenter], _calibration(content))
        if card.sha256 in content["members"].values():
            names = content["members"].items()
            return _posterior(
                content,
                {
                    name: segmenter if sha256 == card.sha256 else find_segmenter(name)
                    for name, sha256 in names
                },
            )
    return None


def _posterior(content: dict[str, Any], members: Mapping[str, Segmenter]) -> Posterior:
    for name, member in members.items():
        if describe_segmenter(member)["sha256"] != content["members"][name]:
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
