"""Making the environments known to Gymnasium, which need not be imported for that."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from types import ModuleType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from importlib.machinery import ModuleSpec

ENV_ID = "CodingEnv-v0"
MAP_ENV_ID = "CodingMapEnv-v0"
VIDEO_ENV_ID = "VideoCodingEnv-v0"

_GYMNASIUM = "gymnasium"
_ENTRY_POINTS = {
    ENV_ID: ("coding_env:CodingEnv", "vector_env:CodingVectorEnv"),
    MAP_ENV_ID: ("map_env:CodingMapEnv", None),
    VIDEO_ENV_ID: ("video_env:VideoCodingEnv", "video_vector_env:VideoCodingVectorEnv"),
}
"""Of one environment, and of many in step."""


def register() -> None:
    """Make the ids known to Gymnasium; doing it twice is harmless."""
    import gymnasium as gym

    for name, (one, many) in _ENTRY_POINTS.items():
        if name not in gym.registry:
            vector = many and f"{__package__}.{many}"
            gym.register(name, f"{__package__}.{one}", vector_entry_point=vector)


def register_on_import() -> None:
    """Register now if Gymnasium has been imported, else as soon as it is."""
    if _GYMNASIUM in sys.modules:
        register()
    elif not any(isinstance(finder, _Finder) for finder in sys.meta_path):
        sys.meta_path.insert(0, _Finder())


class _Finder:
    """Leaves the search for Gymnasium to others, and registers when it has been loaded."""

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Return what the other finders find of Gymnasium; None for all other modules."""
        if name != _GYMNASIUM:
            return None
        others = (finder for finder in sys.meta_path if finder is not self)
        specs = (finder.find_spec(name, path, target) for finder in others)
        spec = next((spec for spec in specs if spec is not None), None)
        if spec is not None and spec.loader is not None:
            load = spec.loader.exec_module

            def load_and_register(module: ModuleType) -> None:
                load(module)
                register()

            spec.loader.exec_module = load_and_register  # type: ignore[method-assign]
        return spec
