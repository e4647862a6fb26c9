"""`Work`: the work that every variant does, and the check of its results.

`files.py` copies files, `pages.py` gathers pages.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

from asyncstream.lab.compare.variants import Variant
from asyncstream.lab.report.measurement import Workload


@dataclass(frozen=True, slots=True)
class Turn:
    """A planned run. `repeat`: measures a variant a second time, only to show the noise."""

    round: int
    workload: Workload
    variant: Variant
    memory_mb: int | None
    repeat: bool = False


class Seen(NamedTuple):
    """The servers' counts for a run.

    Attributes:
        requests: see `Run`; None: only the client can count them.
        faults: number of injected faults by kind; None: no faults were requested.
    """

    requests: dict[str, int] | None = None
    faults: dict[str, int] | None = None


class Work(Protocol):
    """The servers, and a place for the results of one run at a time."""

    def environment(self) -> Mapping[str, str]:
        """Return the environment variables for a function: the servers' and the user's settings."""

    def prepare(self, workload: Workload) -> None:
        """Prepare the sources of a workload."""

    def begin(self, turn: Turn) -> Mapping[str, Any]:
        """Start counting and injecting faults, and return the event of the run."""

    def end(self, turn: Turn) -> Seen:
        """Stop injecting faults, and return the counts since `begin`."""

    def difference(self, turn: Turn) -> str | None:
        """Return the error in the results in one line, or None.

        Raises:
            AsyncstreamError: the results cannot be read.
        """

    def discard(self, turn: Turn) -> int:
        """Delete the results, and return the number of unfinished uploads among them."""
