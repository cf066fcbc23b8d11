"""Counting the episodes that a tool's failure has ended."""

from __future__ import annotations

import warnings

from dmic_gym.errors import CodecError, SegmenterError


class ToolFailures:
    """Warns of the first failure and raises the last of too many in a row.

    Args:
        most: failures in a row at which to raise.
    """

    def __init__(self, most: int) -> None:
        self.most = most
        self._in_a_row = 0
        self._warned = False

    def add(self, error: CodecError | SegmenterError) -> None:
        """Count a failure.

        Raises:
            CodecError, SegmenterError: `most` episodes in a row have failed; of `error`'s type.
        """
        self._in_a_row += 1
        if self._in_a_row >= self.most:
            self._in_a_row = 0
            raise type(error)(
                f"{self.most} episodes in a row failed, the last one with: {error} "
                "(max_failures= says how many may)."
            ) from error
        if not self._warned:
            self._warned = True
            warnings.warn(
                f"An episode ended without an encode, with reward 0: {type(error).__name__}: "
                f"{error} After {self.most} such episodes in a row this is an error.",
                RuntimeWarning,
                stacklevel=4,
            )

    def clear(self) -> None:
        """Forget the failures: an episode went well."""
        self._in_a_row = 0
