"""The policies that come with the package, by name; nothing here loads torch."""

from __future__ import annotations

from pathlib import Path

SHIPPED_POLICIES = Path(__file__).parent / "weights"
"""Where their weights lie."""


def policy_names() -> list[str]:
    """Return the names of the policies that come with the package."""
    return sorted(path.stem for path in SHIPPED_POLICIES.glob("*.safetensors"))
