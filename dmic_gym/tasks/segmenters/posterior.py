"""What an encoder can know of the expert's mask: a calibrated probability map."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from dmic_gym.errors import InvalidInputError, WeightsError
from dmic_gym.tasks.segmenters.calibration import Calibration
from dmic_gym.tasks.segmenters.protocol import (
    Images,
    Probabilities,
    Segmenter,
    check_images,
    check_probabilities,
)
from dmic_gym.tasks.segmenters.weights import SHIPPED


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


def expected_dice(mask: npt.NDArray[np.bool_], posterior: npt.NDArray[np.floating[Any]]) -> float:
    """Return the Dice to expect of a mask when the truth is drawn from the posterior.

    It is the ratio of expectations, 2 sum(p in mask) / (|mask| + sum(p)), which stands for the
    expectation of the ratio: exact where the truth's area is certain, and within
    Var(area) / area**2 of it otherwise (the first term of the delta method). The correlation
    between pixels does not enter the ratio, only that remainder.

    Args:
        mask: bool array (H, W), the prediction.
        posterior: float array (H, W), 0..1, calibrated.

    Returns:
        0..1; 1.0 where the mask and the posterior are empty.

    Raises:
        InvalidInputError: the shapes differ.
    """
    if mask.shape != posterior.shape:
        raise InvalidInputError(
            f"expected_dice: mask is {mask.shape}, posterior is {posterior.shape}. "
            "Pass a mask and a posterior of one image."
        )
    total = float(np.count_nonzero(mask)) + float(posterior.sum(dtype=np.float64))
    return 2.0 * float(posterior[mask].sum(dtype=np.float64)) / total if total > 0.0 else 1.0


def load_posterior(name_or_path: str | Path = "posterior", device: str = "auto") -> Posterior:
    """Load a posterior: a JSON file that names its networks and holds its calibration.

    Args:
        name_or_path: ``"posterior"`` (shipped), or the path of a JSON file written by
            :func:`~dmic_gym.tasks.segmenters.fit_posterior.fit_posterior`.
        device: a torch device, or ``"auto"``.

    Raises:
        WeightsError: the file is missing or damaged, or one of its networks is not the one that
            it was fitted for.
    """
    from dmic_gym.tasks.segmenters.network import load_segmenter  # torch comes with it

    content = _content(name_or_path)
    members = []
    for name, sha256 in content["members"].items():
        member = load_segmenter(name, device)
        if member.card is None or member.card.sha256 != sha256:
            raise WeightsError(
                f"The posterior was fitted for other weights of {name!r}; fit it again."
            )
        members.append(member)
    return Posterior(members, Calibration(content["raw"], content["calibrated"]))


def posterior_of(segmenter: Segmenter, name_or_path: str | Path = "posterior") -> Posterior | None:
    """Return the posterior that belongs to a segmenter, or None where none was fitted for it.

    A network that the posterior names gets it whole; one of the folds that it was fitted on gets
    its calibration.

    Raises:
        WeightsError: as `load_posterior`.
    """
    card = getattr(segmenter, "card", None)
    if card is None:
        return None
    content = _content(name_or_path)
    if card.sha256 in content["members"].values():
        return load_posterior(name_or_path)
    if card.sha256 in content.get("folds", ()):
        return Posterior([segmenter], Calibration(content["raw"], content["calibrated"]))
    return None


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
