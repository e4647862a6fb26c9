"""All runs of a comparison in their order, and one of them from event to verdict; for `comparing.py`."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby

from msgspec.structs import replace

from asyncstream.errors import AsyncstreamError
from asyncstream.lab.compare import verification, workloads
from asyncstream.lab.compare.functions import Functions
from asyncstream.lab.compare.made import Made
from asyncstream.lab.compare.testbed import Testbed
from asyncstream.lab.compare.variants import Variant
from asyncstream.lab.compare.verification import Checksum
from asyncstream.report.measurement import Failure, Run, Workload


@dataclass(frozen=True, slots=True)
class Turn:
    """One run to be made. `repeat`: made already, and only to show how far apart the two come out."""

    round: int
    workload: Workload
    variant: Variant
    memory_mb: int | None
    repeat: bool = False


# A variant in a function of that size, in MB; None: with all that it wants.
Candidate = tuple[Variant, int | None]


def turns(
    rounds: int,
    files: Sequence[Workload],
    candidates: Sequence[Candidate],
    repeated: Variant | None,
) -> Iterator[Turn]:
    """Every run in its order: variants take turns, so that a slow minute of the machine hits them all."""
    for round_ in range(1, rounds + 1):
        for workload in files:
            for size, group in groupby(candidates, key=lambda candidate: candidate[1]):
                variants = [variant for variant, _ in group]
                yield from (Turn(round_, workload, variant, size) for variant in variants)
                if repeated in variants:
                    yield Turn(round_, workload, repeated, size, repeat=True)


def source_prefix(workload: Workload) -> str:
    """Where a workload's sources lie."""
    return f"{workload.files}x{workload.size}/"


def take(
    turn: Turn, testbed: Testbed, functions: Functions, concurrency: int, made: Made | None = None
) -> Run | Failure:
    """Make one run, and verify every byte of it; `made`: what is made of each file, instead of a copy."""
    source = source_prefix(turn.workload)
    size = f"{turn.memory_mb or 'all'}{'-again' if turn.repeat else ''}"
    results = f"round-{turn.round}/{turn.variant.way.name}/{size}/{source}"
    config = {"max_concurrency": concurrency, **turn.variant.config}
    if made is not None:
        config["transform"] = made.name
    event = workloads.event(turn.workload, testbed.source(source), testbed.destination(results), config)
    testbed.run_begins(results, turn.round)
    run = functions.invoke(turn.variant, turn.memory_mb, event)
    seen = testbed.run_ended()
    wrong = None
    if isinstance(run, Run):
        expected = testbed.expected(source) if made is None else made.expected(turn.workload, source)
        wrong = _difference(expected, testbed, results)
    left = testbed.discard(results)
    if isinstance(run, Failure):
        told = f"; {left:,} uploads left open" if left and seen.faults is not None else ""
        return replace(run, error=run.error + told)
    if wrong is not None:
        return Failure(wrong)
    requests = run.requests if seen.requests is None else seen.requests
    return replace(run, requests=requests, faults=seen.faults, left_open=left)


def _difference(expected: Mapping[str, Checksum], testbed: Testbed, results: str) -> str | None:
    """What is wrong with the results, if something is."""
    try:
        return verification.difference(expected, testbed.found(results))
    except AsyncstreamError as error:
        return f"the results cannot be read back: {error}"
