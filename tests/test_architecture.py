"""The rooms of the package and who may import whom, read from the source."""

from __future__ import annotations

import ast
from collections import Counter
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

from tests.support import ROOT

FLOORS = (
    {"cli"},
    {"bench", "deploy"},
    {"agents"},
    {"envs"},
    {"codecs", "tasks"},
    {"io"},
    {"types", "errors"},
)
"""From the top to the ground: a room imports itself and lower floors, no neighbour."""

FREE = {"", "__main__"}
"""The package itself registers the environments and shows names of every room."""


def module_of(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


PATHS = {module_of(path): path for path in sorted((ROOT / "dmic_gym").rglob("*.py"))}
TREES = {module: ast.parse(path.read_text()) for module, path in PATHS.items()}


def imports(module: str) -> Iterator[str]:
    """The modules of ours that a module imports, inside functions and for type checks too."""
    for node in ast.walk(TREES[module]):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("dmic_gym"):
            assert node.module is not None
            for alias in node.names:
                inner = f"{node.module}.{alias.name}"
                yield inner if inner in PATHS else node.module
        elif isinstance(node, ast.Import):
            yield from (a.name for a in node.names if a.name.split(".")[0] == "dmic_gym")


GRAPH = {module: set(imports(module)) - {module, "dmic_gym"} for module in PATHS}


def room(module: str) -> str:
    return [*module.split("."), ""][1]


def floor(module: str) -> int:
    (found,) = [n for n, rooms in enumerate(FLOORS) if room(module) in rooms]
    return found


@pytest.mark.parametrize("module", [name for name in PATHS if room(name) not in FREE])
def test_imports_run_downhill(module: str) -> None:
    for other in GRAPH[module]:
        downhill = room(other) == room(module) or floor(other) > floor(module)
        assert downhill, f"{module} imports {other}"


def test_no_module_takes_part_in_a_circle() -> None:
    try:
        order = list(TopologicalSorter(GRAPH).static_order())
    except CycleError as error:
        pytest.fail(f"circle: {' <- '.join(error.args[1])}")
    assert set(order) == set(PATHS)


def test_files_are_small() -> None:
    lengths = sorted(len(path.read_text().splitlines()) for path in PATHS.values())
    assert lengths[-1] <= 500
    assert lengths[len(lengths) // 2] < 150


def test_an_alias_of_an_array_type_has_one_place() -> None:
    """`Image = npt.NDArray[...]` and its like are looked up in `dmic_gym.types`."""
    names = Counter(name for tree in TREES.values() for name in aliases(tree))
    assert [name for name, count in names.items() if count > 1] == []


def aliases(tree: ast.Module) -> Iterator[str]:
    for node in tree.body:
        if isinstance(node, ast.Assign | ast.AnnAssign):
            target = node.targets[0] if isinstance(node, ast.Assign) else node.target
            value = node.value
            if isinstance(value, ast.Subscript) and "NDArray" in ast.unparse(value.value):
                yield ast.unparse(target)
