"""The threads that encode, and the time that they take."""

from __future__ import annotations

import os
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any


def default_workers() -> int:
    """Return the number of processors this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def processor_seconds() -> float:
    """Return the processor time of this process so far, all threads and ended children included.

    Differences of it say what work costs, whatever else the machine does meanwhile.
    """
    return time.process_time() + sum(os.times()[2:4])


def start_pool(workers: int) -> ThreadPoolExecutor:
    """Start a pool whose threads compute with one torch thread each, if torch is in use.

    Without that, each would start as many as there are processors. torch's setting for all other
    threads stays what it is.
    """
    torch: Any = sys.modules.get("torch")
    if torch is None:
        return ThreadPoolExecutor(workers, "dmic-encode")
    all_here = threading.Barrier(workers)

    def one_thread() -> None:
        torch.get_num_threads()  # torch sets a new thread's number at its first use
        torch.set_num_threads(1)
        all_here.wait()

    threads = torch.get_num_threads()
    pool = ThreadPoolExecutor(workers, "dmic-encode", one_thread)
    try:
        for done in [pool.submit(int) for _ in range(workers)]:
            done.result()
    finally:
        torch.set_num_threads(threads)
    return pool
