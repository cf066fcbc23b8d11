"""A tool's failure in the place of its result, so that one image does not stop the others."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import ParamSpec, TypeAlias, TypeVar

from dmic_gym.errors import CodecError, SegmenterError

ToolError: TypeAlias = CodecError | SegmenterError
TOOL_ERRORS = (CodecError, SegmenterError)
"""Failures of a tool, which end an episode; every other error is a user's and is raised."""

P = ParamSpec("P")
R = TypeVar("R")


def attempt(call: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R | ToolError:
    """Return the result, or a tool's failure in its place."""
    try:
        return call(*args, **kwargs)
    except TOOL_ERRORS as error:
        return error


def checked(found: R | ToolError) -> R:
    """Return a result, or raise the failure that stands in its place."""
    if isinstance(found, TOOL_ERRORS):
        raise found
    return found


def in_order(numbered: Iterable[tuple[int, R]]) -> list[R]:
    """Return numbered results by their numbers."""
    return [found for _, found in sorted(numbered, key=lambda pair: pair[0])]
