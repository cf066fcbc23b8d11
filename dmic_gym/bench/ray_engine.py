"""Ray as an engine: the same function on a cluster."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from dmic_gym.bench.plan import Group
from dmic_gym.bench.rows import Record
from dmic_gym.bench.runner import run_group
from dmic_gym.errors import MissingDependencyError


class RayEngine:
    """Each group is one task of one CPU that streams its records.

    Args:
        jobs: CPUs of a cluster that is started on this machine.
        address: of a running cluster, as ``ray.init`` takes it; None starts one here. There,
            dmic_gym has to be installed on every node, in one version.

    Raises:
        MissingDependencyError: Ray is not installed.
    """

    def __init__(self, jobs: int = 1, address: str | None = None) -> None:
        try:
            import ray
        except ImportError as error:
            raise MissingDependencyError(
                "Ray is not installed: type pip install 'dmic_gym[ray]', or leave out --ray."
            ) from error
        self._ray: Any = ray
        self._arguments: dict[str, Any] = {"address": address}
        if address is None:
            self._arguments = {"num_cpus": jobs, "include_dashboard": False}

    def run(self, groups: Sequence[Group]) -> Iterator[Record]:
        """Yield each record as it comes; a task that dies costs the cell it was at."""
        self._ray.init(log_to_driver=False, **self._arguments)
        try:
            yield from self._records(groups)
        finally:
            self._ray.shutdown()

    def _records(self, groups: Sequence[Group]) -> Iterator[Record]:
        remote = self._ray.remote(num_cpus=1, num_returns="streaming", max_retries=0)(run_group)
        streams: dict[Any, Group] = {remote.remote(group): group for group in groups}
        while streams:
            (stream, *_), _ = self._ray.wait(list(streams), num_returns=1)
            group = streams.pop(stream)
            rest = group.without_first()
            try:
                yield self._ray.get(next(stream))
            except self._ray.exceptions.RayError as error:
                yield group.cells[0].failed(f"{type(error).__name__}: {error}")
                stream = remote.remote(rest)  # one without cells ends at once
            if rest.cells:
                streams[stream] = rest
