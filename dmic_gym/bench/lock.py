"""A lock on a folder that dies with its process."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path

from dmic_gym.errors import DataError

FILE = "sweep.lock"


class FolderLock:
    """Keeps other sweeps out of a folder until `release`, or until this process ends in any way.

    The folder is made if missing. Readers are not kept out.

    Raises:
        DataError: another process holds the lock, or the folder cannot be written.
    """

    def __init__(self, folder: Path) -> None:
        try:
            folder.mkdir(parents=True, exist_ok=True)
            self._descriptor = os.open(folder / FILE, os.O_RDWR | os.O_CREAT, 0o644)
        except OSError as error:
            raise DataError(f"Cannot write into {folder}: {error}. Pass another --out.") from error
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            holder = os.read(self._descriptor, 64).decode(errors="replace").strip()
            os.close(self._descriptor)
            raise DataError(
                f"Another sweep{f' (process {holder})' if holder else ''} is writing to {folder}: "
                "wait for it, or pass another --out."
            ) from error
        self._say_who()

    def release(self) -> None:
        """Let others in; a second call does nothing."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    def _say_who(self) -> None:
        """Write the process id for the message above; on a full disk the lock holds without."""
        try:
            os.ftruncate(self._descriptor, 0)
            os.pwrite(self._descriptor, f"{os.getpid()}\n".encode(), 0)
        except OSError:
            pass
