"""The order of a comparison's runs, and one run from event to verification."""

from collections.abc import Iterator, Sequence
from itertools import groupby

from msgspec.structs import replace

from asyncstream.errors import AsyncstreamError
from asyncstream.lab.compare.functions import Functions
from asyncstream.lab.compare.variants import Variant
from asyncstream.lab.compare.work import Turn, Work
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


def take(turn: Turn, work: Work, functions: Functions) -> Run | Failure:
    """Run one variant, and verify all of its results."""
    event = work.begin(turn)
    run = functions.invoke(turn.variant, turn.memory_mb, event)
    seen = work.end(turn)
    wrong = _difference(turn, work) if isinstance(run, Run) else None
    left = work.discard(turn)
    if isinstance(run, Failure):
        told = f"; {left:,} uploads left open" if left and seen.faults is not None else ""
        return replace(run, error=run.error + told)
    if wrong is not None:
        return Failure(wrong)
    requests = run.requests if seen.requests is None else seen.requests
    return replace(run, requests=requests, faults=seen.faults, left_open=left)


def _difference(turn: Turn, work: Work) -> str | None:
    """Return the error in the results, or None."""
    try:
        return work.difference(turn)
    except AsyncstreamError as error:
        return f"the results cannot be read: {error}"
