"""The command line of the benchmarks: `make bench`, or `python -m tests.benchmarks`."""

from __future__ import annotations

import argparse
import sys
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console

from asyncstream.lab.s3 import LabS3
from tests.benchmarks import artefact, challenge, measure, report
from tests.benchmarks import runs as simulated_runs
from tests.benchmarks.archive_workloads import ARCHIVES
from tests.benchmarks.peers import OURS, Task
from tests.benchmarks.ways import LABELS, TOP
from tests.benchmarks.workloads import COPIES, SOURCE_BUCKET, Workload

if TYPE_CHECKING:
    from tests.benchmarks.measure import Measurement

WORKLOADS = (*COPIES, *ARCHIVES)

# Enough to check that everything works, but not for figures to publish.
QUICK_ROUNDS, QUICK_SHARE = 1, 5
REPORT_WIDTH = 150


def main() -> int:
    """Run the benchmarks that the arguments name; return 1 if a peer failed or its copy is wrong."""
    settings = _arguments()
    # If the output is a file or a pipe, rich would squeeze the tables into 80 columns.
    console = Console(width=None if sys.stdout.isatty() else REPORT_WIDTH)
    runs: list[report.Results] = []
    more: dict[str, Any] = {}
    try:
        for workload in _chosen(settings):
            results = _run(workload, settings, console)
            report.show(results, console)
            runs.append(results)
        if challenge.NAME in settings.only:
            count = challenge.OBJECTS // QUICK_SHARE if settings.quick else challenge.OBJECTS
            challenged = challenge.run(challenge.ways(settings.engines), settings.rounds, console, count)
            challenge.show(challenged, console)
            more[challenge.NAME] = challenge.document(challenged)
        if simulated_runs.NAME in settings.only:
            files = simulated_runs.FILES // QUICK_SHARE if settings.quick else simulated_runs.FILES
            found, packing = simulated_runs.run(console, files)
            simulated_runs.show(found, packing, files, console)
            more[simulated_runs.NAME] = simulated_runs.document(found, packing)
        if artefact.NAME in settings.only:
            artefacts = artefact.run(settings.rounds, console)
            artefact.show(artefacts, console)
            more[artefact.NAME] = artefact.document(artefacts)
    except measure.BenchmarkError as error:
        console.print(str(error), style="red", markup=False)
        return 1
    described = {**vars(settings), "output": str(settings.output)}
    for path in report.write(runs, more, described, settings.output):
        console.print(f"written: {path}")
    return 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks", description=__doc__)
    names = [*(workload.name for workload in WORKLOADS), challenge.NAME, simulated_runs.NAME, artefact.NAME]
    groups = sorted({workload.group for workload in WORKLOADS if workload.group})
    parser.add_argument("--rounds", type=int, default=5, help="interleaved runs of every way (default: 5)")
    parser.add_argument("--quick", action="store_true", help="1 round with a fifth of the objects")
    parser.add_argument(
        "--only", type=comma_list([*names, *groups]), default=names, metavar=",".join([*names, *groups])
    )
    parser.add_argument(
        "--engines", type=comma_list(OURS), default=list(OURS), metavar=",".join(OURS), help="engines to run"
    )
    parser.add_argument("--concurrency", type=int, default=10, help="slots, threads, tasks (default: 10)")
    parser.add_argument(
        "--warm", action="store_true", help="also measure a second copy in each process (JSON only)"
    )
    parser.add_argument(
        "--output", type=Path, default=TOP / "bench-results", help="directory of JSON and PNG files"
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
        if {workload.name, workload.group} & set(settings.only):
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
        status.update(f"{workload.title}: making the objects")
        keys = workload.sources(lab, SOURCE_BUCKET, workload.count, workload.size)
        lab.set_model(workload.model)
        for number in range(settings.rounds):
            for peer in measure.rotated(workload.peers, number):
                status.update(f"{workload.title}: round {number + 1} of {settings.rounds}, {LABELS[peer]}")
                bucket = f"{peer.replace('_', '-')}-{number}"
                lab.create_bucket(bucket, keep=peer in workload.kept)
                task = Task(SOURCE_BUCKET, bucket, tuple(keys), settings.concurrency)
                lab.reset_stats()
                measurement = measure.run(peer, task, lab.environment(), warm=settings.warm)
                measured[peer].append(replace(measurement, requests=_requests(lab, measurement)))
                _check(lab, workload, peer, bucket)
    return report.Results(workload, measured)


def _requests(lab: LabS3, measurement: Measurement) -> dict[str, int]:
    """Return the number of requests of a run by operation, without those of its setup."""
    end = measurement.started + measurement.wall_seconds
    log = lab.request_log()
    return dict(Counter(one["operation"] for one in log if measurement.started <= one["start"] <= end))


def _check(lab: LabS3, workload: Workload, peer: str, bucket: str) -> None:
    """Check what a peer wrote, without the network's model, and drop it.

    Raises:
        BenchmarkError: a byte is missing or differs.
    """
    lab.set_model("off")
    try:
        workload.check(lab, SOURCE_BUCKET, bucket)
    except measure.BenchmarkError as error:
        raise measure.BenchmarkError(f"{peer}: {error}") from error
    lab.discard(bucket, "")
    lab.set_model(workload.model)


if __name__ == "__main__":
    sys.exit(main())
