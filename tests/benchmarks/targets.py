"""What is measured of a run, and the project's targets for it."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Literal

from asyncstream import prices

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tests.benchmarks.measure import Measurement

MIB = 1024 * 1024
# The size of a function whose compute is priced, if the network has a model.
FUNCTION_MB = 512

Unit = Literal["CPU s/GB", "files/CPU s", "CPU s", "wall s"]
# "cost" is the figure in the workload's unit.
Metric = Literal["cost", "peak MiB", "GETs", "USD", "wall s"]
Comparison = Literal["ratio", "difference", "value"]


@dataclass(frozen=True, slots=True)
class Target:
    """A promise about a metric of `peer`: its ratio to `reference`'s, its difference, or its own value.

    It is at most `bound`, or at least `bound` if it is the cost of a workload that counts files.
    """

    peer: str
    reference: str | None
    bound: float
    metric: Metric = "cost"
    comparison: Comparison = "ratio"


def compared(target: Target, figure: float, reference: float) -> float:
    """Return the figure as the target compares it."""
    if target.comparison == "ratio":
        return figure / reference if reference else math.inf
    return figure - reference if target.comparison == "difference" else figure


def gets(requests: Mapping[str, int]) -> int:
    """Return the number of requests that cost as much as a GET."""
    return sum(count for operation, count in requests.items() if _verb(operation) not in _NOT_READS)


def puts(requests: Mapping[str, int]) -> int:
    """Return the number of requests that cost as much as a PUT."""
    return sum(count for operation, count in requests.items() if _verb(operation) in prices.WRITES)


def usd(measurement: Measurement, *, has_network: bool) -> float:
    """Return the USD for a thousand runs: the requests and, if the network has a model, the compute."""
    table = prices.load()
    total = table.requests_usd(measurement.requests)
    if has_network:
        seconds = prices.gb_seconds(FUNCTION_MB, measurement.wall_seconds)
        total += table.compute_usd(seconds, "arm64")
    return total * 1000


_NOT_READS = prices.WRITES | prices.FREE


@cache
def _verb(operation: str) -> str:
    return re.split(r"(?<=[a-z])(?=[A-Z])", operation)[0]
