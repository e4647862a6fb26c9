"""The command line of the benchmarks: `make bench`, or `python -m tests.benchmarks`."""

from __future__ import annotations

import argparse
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console

from asyncstream.lab.s3 import LabS3
from tests.benchmarks import artefact, measure, report
from tests.benchmarks.peers import LABELS, OURS, Task
from tests.benchmarks.workloads import SOURCE_BUCKET, WORKLOADS, Workload

if TYPE_CHECKING:
    from asyncstream.lab.s3.client import ObjectChecksum

# Enough to check that everything works, but not for figures to publish.
QUICK_ROUNDS, QUICK_SHARE = 1, 5
REPORT_WIDTH = 150


def main() -> int:
    """Run the benchmarks that the arguments name; return 1 if a peer failed or its copy is wrong."""
    settings = _arguments()
    # If the output is a file or a pipe, rich would squeeze the tables into 80 columns.
    console = Console(width=None if sys.stdout.isatty() else REPORT_WIDTH)
    runs, artefacts = [], None
    try:
        for workload in _chosen(settings):
            results = _run(workload, settings, console)
            report.show(results, console)
            runs.append(results)
        if artefact.NAME in settings.only:
            artefacts = artefact.run(settings.rounds, console)
            artefact.show(artefacts, console)
    except measure.BenchmarkError as error:
        console.print(str(error), style="red", markup=False)
        return 1
    more = {} if artefacts is None else {artefact.NAME: artefact.document(artefacts)}
    described = {**vars(settings), "output": str(settings.output)}
    for path in report.write(runs, more, described, settings.output):
        console.print(f"written: {path}")
    return 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks", description=__doc__)
    names = [*(workload.name for workload in WORKLOADS), artefact.NAME]
    parser.add_argument("--rounds", type=int, default=5, help="interleaved runs of every way (default: 5)")
    parser.add_argument("--quick", action="store_true", help="1 round with a fifth of the objects")
    parser.add_argument("--only", type=comma_list(names), default=names, metavar=",".join(names))
    parser.add_argument(
        "--engines", type=comma_list(OURS), default=list(OURS), metavar=",".join(OURS), help="engines to run"
    )
    parser.add_argument("--concurrency", type=int, default=10, help="slots, threads, tasks (default: 10)")
    parser.add_argument(
        "--warm", action="store_true", help="also measure a second copy in each process (JSON only)"
    )
    parser.add_argument(
        "--output", type=Path, default=measure.TOP / "bench-results", help="directory of JSON and PNG files"
    )
    settings = parser.parse_args()
    if settings.quick:
        settings.rounds = QUICK_ROUNDS
    if settings.rounds < 1 or settings.concurrency < 1:
        parser.error("--rounds and --concurrency must be at least 1")
    return settings


class comma_list:  # noqa: N801 - argparse shows the name in its messages
    """Parses a comma-separated choice."""

    def __init__(self, known: tuple[str, ...] | list[str]) -> None:
        self._known = known

    def __call__(self, text: str) -> list[str]:
        chosen = text.split(",")
        if unknown := sorted(set(chosen) - set(self._known)):
            raise argparse.ArgumentTypeError(f"{unknown[0]!r} is not one of {', '.join(self._known)}")
        return chosen


def _chosen(settings: argparse.Namespace) -> list[Workload]:
    chosen = []
    for workload in WORKLOADS:
        if workload.name in settings.only:
            left_out = set(OURS) - set(settings.engines)
            # The name of an engine's peer starts with the engine.
            kept = tuple(peer for peer in workload.peers if peer.partition("_")[0] not in left_out)
            count = workload.count // QUICK_SHARE if settings.quick else workload.count
            chosen.append(replace(workload, peers=kept, count=count))
    return chosen


def _run(workload: Workload, settings: argparse.Namespace, console: Console) -> report.Results:
    """Run all rounds of one workload against one server."""
    measured: dict[str, list[measure.Measurement]] = {peer: [] for peer in workload.peers}
    with LabS3(tls=workload.tls) as lab, console.status("") as status:
        keys = workload.sources(lab, SOURCE_BUCKET, workload.count, workload.size)
        expected = lab.checksums(SOURCE_BUCKET)
        for number in range(settings.rounds):
            for peer in measure.rotated(workload.peers, number):
                status.update(f"{workload.title}: round {number + 1} of {settings.rounds}, {LABELS[peer]}")
                bucket = f"{peer.replace('_', '-')}-{number}"
                lab.create_bucket(bucket, keep=False)
                task = Task(SOURCE_BUCKET, bucket, tuple(keys), settings.concurrency)
                measurement = measure.run(peer, task, lab.environment(), warm=settings.warm)
                _verify(peer, expected, lab.checksums(bucket))
                measured[peer].append(measurement)
    return report.Results(workload, measured)


def _verify(peer: str, expected: dict[str, ObjectChecksum], found: dict[str, ObjectChecksum]) -> None:
    """Check that every byte of every object arrived in its place.

    Raises:
        BenchmarkError: an object is missing or differs.
    """
    for key, source in expected.items():
        copy = found.get(key)
        if copy is None or (copy.size, copy.crc64nvme) != (source.size, source.crc64nvme):
            raise measure.BenchmarkError(f"{peer} wrote {key} wrongly: {copy} instead of {source}")


if __name__ == "__main__":
    sys.exit(main())
