"""The codecs work where Python has no fork: Windows, as far as another system can show it."""

from __future__ import annotations

from tests.support import python

PROGRAM = """
import os, sys
for name in ("register_at_fork", "fork", "forkpty", "pread", "pwrite"):
    delattr(os, name)
for module in ("fcntl", "resource", "pwd", "grp", "termios"):
    sys.modules[module] = None

import numpy as np
import dmic_gym
from dmic_gym.codecs import FFmpegCodec, X265Codec

image = np.arange(64 * 64, dtype=np.uint8).reshape(64, 64)
(encoded,) = X265Codec(64, "ultrafast").encode([image], [np.array([[30]])])
assert encoded.reconstruction.shape == (64, 64)
print(len(encoded.bitstream))
"""


def test_without_what_only_posix_has() -> None:
    done = python("-c", PROGRAM)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) > 100
