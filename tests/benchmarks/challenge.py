"""A public challenge, with a tenth of its bytes: one function packs 3,000 objects into a ZIP archive.

The function runs in the lab's sandbox, which limits its memory and CPU as Lambda does, over TLS and a network
of 74 MB/s each way, the rate that the challenge's functions reached.
"""

from __future__ import annotations

import statistics
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
from rich import box
from rich.table import Table

from asyncstream import prices
from asyncstream.lab.s3 import LabS3
from asyncstream.lab.sandbox import Function, Sandbox
from tests.benchmarks import checks
from tests.benchmarks.archives import ZIP
from tests.benchmarks.measure import BenchmarkError, rotated
from tests.benchmarks.targets import MIB, gets, puts
from tests.benchmarks.ways import TOP

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rich.console import Console

    from asyncstream.engines import EngineName

NAME = "challenge"
SOURCE, OBJECTS, SIZE = "challenge-source", 3000, 500_000
CARD_MB = 74  # MB/s of the function's network card
MODEL = f"53/{CARD_MB}/25"
WHOLE_BYTES = 15.7e9  # of the public challenge
# The compute of its cheapest entry: Rust, 512 MB, 211 s. The one in Python, 1,024 MB, 243 s: 0.0032 USD.
RUST_USD = 0.0014
MAX_RATIO = 1.05  # to the network's floor
TARGET_MB = 256
MEMORY = (TARGET_MB, 512, 1024)
SECONDS = 600.0  # a guard


@dataclass(frozen=True, slots=True)
class Way:
    """How the function runs."""

    engine: EngineName
    memory_mb: int

    @property
    def name(self) -> str:
        return f"{self.engine}-{self.memory_mb}"


@dataclass(frozen=True, slots=True)
class Run:
    """One run of the function: wall and CPU time in seconds without its init, memory in bytes, requests."""

    seconds: float
    cpu_seconds: float
    peak_bytes: int
    requests: dict[str, int]


@dataclass(frozen=True, slots=True)
class Results:
    """The runs of each way, the number of objects, and how the functions were limited."""

    runs: dict[Way, list[Run]]
    count: int
    limits: str

    @property
    def bytes(self) -> int:
        return self.count * SIZE

    @property
    def floor(self) -> float:
        """The seconds that the network needs for the bytes of all objects."""
        return self.bytes / (CARD_MB * 1e6)

    def seconds(self, way: Way) -> float:
        """Return the median of the wall times."""
        return statistics.median(each.seconds for each in self.runs[way])

    def compute_usd(self, way: Way) -> float:
        """Return the USD for the compute of the whole challenge."""
        whole = self.seconds(way) * WHOLE_BYTES / self.bytes
        return prices.load().compute_usd(prices.gb_seconds(way.memory_mb, whole), "arm64")


def ways(engines: Sequence[EngineName]) -> list[Way]:
    """Return the functions to run: not of the sequential engine, which reads one object at a time."""
    return [Way(engine, memory) for memory in MEMORY for engine in engines if engine != "sequential"]


def run(
    functions: Sequence[Way], rounds: int, console: Console, count: int = OBJECTS, **config: Any
) -> Results:
    """Run every function in every round, each time in a new environment.

    Args:
        functions: the functions.
        rounds: how often each runs.
        console: shows the progress.
        count: the number of objects.
        config: settings of the transfer.

    Raises:
        BenchmarkError: a function failed, or its archive is wrong.
    """
    runs: dict[Way, list[Run]] = {way: [] for way in functions}
    with LabS3(tls=True) as lab, console.status("") as status:
        lab.create_bucket(SOURCE, keep=False)
        lab.declare_many(SOURCE, "object-", count, SIZE)
        with Sandbox([_function(way, lab) for way in functions]) as sandbox:
            for number in range(rounds):
                for way in rotated(functions, number):
                    status.update(f"{NAME}: round {number + 1} of {rounds}, {way.name}")
                    sandbox.configure(way.name)  # a new environment
                    runs[way].append(_invoke(sandbox, lab, way, config))
            return Results(runs, count, sandbox.limits)


def _function(way: Way, lab: LabS3) -> Function:
    return Function(
        name=way.name,
        handler="zipping.handler",
        code=[Path(__file__).with_name("functions"), TOP],
        memory_mb=way.memory_mb,
        timeout=SECONDS,
        environment={**lab.environment(), "ENGINE": way.engine},
    )


def _invoke(sandbox: Sandbox, lab: LabS3, way: Way, config: dict[str, Any]) -> Run:
    target = f"challenge-{way.name}"
    lab.create_bucket(target, keep=True)
    lab.reset_stats()
    lab.set_model(MODEL)
    event = {"source": SOURCE, "destination": target, "key": ZIP, "config": config}
    invocation = sandbox.invoke(way.name, msgspec.json.encode(event), None)
    lab.set_model("off")
    if invocation.failed:
        raise BenchmarkError(f"{way.name}: {invocation.payload.decode()}\n{invocation.log[-2000:]}")
    observed = sandbox.observed(invocation.request_id)
    requests = lab.stats()["operations"]
    checks.packs_or_copies(lab, SOURCE, target)
    lab.discard(target, "")
    return Run(observed.seconds, observed.cpu_seconds, observed.peak_bytes, requests)


def show(results: Results, console: Console) -> None:
    """Print a table, and below it whether the targets are met."""
    title = f"{results.count:,} objects of 500 KB into a ZIP archive, network {MODEL}, TLS ({results.limits})"
    table = Table(title=title, box=box.SIMPLE)
    table.add_column("function, MB", no_wrap=True)
    headings = (
        "wall s",
        "range",
        "x floor",
        "CPU s",
        "peak MiB",
        "GETs",
        "PUTs",
        "USD requests",
        "USD compute",
    )
    for heading in headings:
        table.add_column(heading, justify="right")
    for way, measured in results.runs.items():
        seconds = [each.seconds for each in measured]
        requests = measured[0].requests
        table.add_row(
            way.name,
            f"{results.seconds(way):.1f}",
            f"{min(seconds):.1f}-{max(seconds):.1f}",
            f"{results.seconds(way) / results.floor:.2f}",
            f"{statistics.median(each.cpu_seconds for each in measured):.2f}",
            f"{statistics.median(each.peak_bytes for each in measured) / MIB:.0f}",
            f"{gets(requests):,}",
            f"{puts(requests):,}",
            f"{prices.load().requests_usd(requests):.4f}",
            f"{results.compute_usd(way):.4f}",
        )
    console.print(table)
    console.print("USD compute: for 15.7 GB. USD requests: for these objects.")
    for verdict in _verdicts(results):
        mark = "[green]met[/green]" if verdict["met"] else "[red]missed[/red]"
        measured_as = f"{verdict['measured']:.2g} {verdict['metric']}"
        console.print(f"{verdict['way']}: {measured_as} (target {verdict['bound']}: {mark})")


def document(results: Results) -> dict[str, Any]:
    """Return all figures for the JSON file."""
    return {
        "objects": results.count,
        "size": SIZE,
        "model": MODEL,
        "limits": results.limits,
        "floor_seconds": results.floor,
        "runs": {way.name: [asdict(each) for each in measured] for way, measured in results.runs.items()},
        "targets": _verdicts(results),
    }


def _verdicts(results: Results) -> list[dict[str, Any]]:
    verdicts = []
    for way in results.runs:
        if way.memory_mb != TARGET_MB:
            continue
        for metric, figure, bound in (
            ("x the network's floor", results.seconds(way) / results.floor, MAX_RATIO),
            ("USD of compute", results.compute_usd(way), RUST_USD),
        ):
            verdicts.append(
                {
                    "way": way.name,
                    "metric": metric,
                    "measured": figure,
                    "bound": bound,
                    "met": figure <= bound,
                }
            )
    return verdicts
