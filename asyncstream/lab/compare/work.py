"""`Work`: what every way of a comparison is given to do, and how its results are looked at.

One kind copies files (`files.py`), the other gathers pages (`pages.py`).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

from asyncstream.lab.compare.variants import Variant
from asyncstream.lab.report.measurement import Workload


@dataclass(frozen=True, slots=True)
class Turn:
    """One run to be made. `repeat`: made already, and only to show how far apart the two come out."""

    round: int
    workload: Workload
    variant: Variant
    memory_mb: int | None
    repeat: bool = False


class Seen(NamedTuple):
    """What the servers saw of a run.

    Attributes:
        requests: see `Run`; None where only the client can count them.
        faults: that befell it, by kind; None where none were asked for.
    """

    requests: dict[str, int] | None = None
    faults: dict[str, int] | None = None


class Work(Protocol):
    """Servers to work with, and a place for the results of one run at a time."""

    def environment(self) -> Mapping[str, str]:
        """Environment variables of a function that is to find the servers, and the user's own settings."""

    def prepare(self, workload: Workload) -> None:
        """Have ready what a workload is made of."""

    def begin(self, turn: Turn) -> Mapping[str, Any]:
        """Watch from here on, and have the faults begin that were asked for; the event of the run."""

    def end(self, turn: Turn) -> Seen:
        """What was seen since then. Nothing goes wrong any more."""

    def difference(self, turn: Turn) -> str | None:
        """What is wrong with the results, in one line; None if nothing is.

        Raises:
            AsyncstreamError: they cannot be read.
        """

    def discard(self, turn: Turn) -> int:
        """Drop the results; how many uploads were neither completed nor aborted among them."""
