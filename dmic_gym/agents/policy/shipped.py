"""The policies that come with the package, by name; nothing here loads torch."""

from __future__ import annotations

from pathlib import Path

from dmic_gym.errors import InvalidInputError

SHIPPED_POLICIES = Path(__file__).parent / "weights"
"""Where their weights lie."""

RENAMED = {"hrlvsc": "mlp-phantoms", "dmic-1shot": "mlp-1shot", "dmic-40shot": "mlp-40shot"}
"""Names that the same weights had before, which promised what they had not learned from."""


def policy_names() -> list[str]:
    """Return the names of the policies that come with the package."""
    return sorted(path.stem for path in SHIPPED_POLICIES.glob("*.safetensors"))


def check_name(name: str) -> None:
    """Raise InvalidInputError if `name` is one that shipped weights had before."""
    if name in RENAMED:
        raise InvalidInputError(
            f"The policy {name!r} is now {RENAMED[name]!r}: the same weights, learned from the "
            f"numbers about each CTU and from no video. Write {RENAMED[name]}."
        )
