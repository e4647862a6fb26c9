"""The order of a comparison's runs, and one run from event to verification."""

from collections.abc import Iterator, Sequence
from itertools import groupby

from msgspec.structs import replace

from asyncstream.errors import AsyncstreamError
from asyncstream.lab.compare.functions import Functions
from asyncstream.lab.compare.harness import Harness, Turn
from asyncstream.lab.compare.variants import Variant
from asyncstream.lab.report.measurement import Failure, Run, Workload

# A variant and its function size in MB. None: no limits.
Candidate = tuple[Variant, int | None]


def turns(
    rounds: int,
    workloads: Sequence[Workload],
    candidates: Sequence[Candidate],
    repeated: Variant | None,
) -> Iterator[Turn]:
    """Yield every run in order. Variants take turns, so that a slow minute of the machine affects all."""
    for round_ in range(1, rounds + 1):
        for workload in workloads:
            for size, group in groupby(candidates, key=lambda candidate: candidate[1]):
                variants = [variant for variant, _ in group]
                yield from (Turn(round_, workload, variant, size) for variant in variants)
                if repeated in variants:
                    yield Turn(round_, workload, repeated, size, repeat=True)


def take(turn: Turn, harness: Harness, functions: Functions) -> Run | Failure:
    """Run one variant, and verify all of its results."""
    event = harness.begin(turn)
    run = functions.invoke(turn.variant, turn.memory_mb, event)
    counts = harness.end(turn)
    error = _difference(turn, harness) if isinstance(run, Run) else None
    left = harness.discard(turn)
    if isinstance(run, Failure):
        uploads = f"; {left:,} uploads left open" if left and counts.faults is not None else ""
        return replace(run, error=run.error + uploads)
    if error is not None:
        return Failure(error)
    requests = run.requests if counts.requests is None else counts.requests
    return replace(run, requests=requests, faults=counts.faults, left_open=left)


def _difference(turn: Turn, harness: Harness) -> str | None:
    """Return the error in the results, or None."""
    try:
        return harness.difference(turn)
    except AsyncstreamError as error:
        return f"the results cannot be read: {error}"
