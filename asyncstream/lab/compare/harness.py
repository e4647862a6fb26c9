"""`Harness`: the servers and sources of the runs, and the check of their results.

`files.py` copies files, `pages.py` gathers pages.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

from asyncstream.lab.compare.variants import Variant
from asyncstream.lab.report.measurement import Workload


@dataclass(frozen=True, slots=True)
class Turn:
    """A planned run. `repeat`: whether it measures a variant a second time, only to show the noise."""

    round: int
    workload: Workload
    variant: Variant
    memory_mb: int | None
    repeat: bool = False


class ServerCounts(NamedTuple):
    """What the servers counted during a run.

    Attributes:
        requests: the number of requests by kind, as in `Run`. None: only the client can count them.
        faults: the number of injected faults by kind. None: no faults were requested.
    """

    requests: dict[str, int] | None = None
    faults: dict[str, int] | None = None


class Harness(Protocol):
    """The servers of a comparison, which serve one run at a time."""

    def environment(self) -> Mapping[str, str]:
        """Return the environment variables for a function: the servers' and the user's settings."""

    def prepare(self, workload: Workload) -> None:
        """Prepare the sources of a workload."""

    def begin(self, turn: Turn) -> Mapping[str, Any]:
        """Start counting and injecting faults, and return the event of the run."""

    def end(self, turn: Turn) -> ServerCounts:
        """Stop injecting faults, and return the counts since `begin`."""

    def difference(self, turn: Turn) -> str | None:
        """Return the first errors in the results as one line; None if the results are right.

        Raises:
            AsyncstreamError: the results cannot be read.
        """

    def discard(self, turn: Turn) -> int:
        """Delete the results, and return the number of unfinished uploads among them."""
