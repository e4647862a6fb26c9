"""A public challenge: one function packs 3,000 objects of 15.7 GB into a ZIP archive, at a tenth of the size.

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

from asyncstream.lab.report import prices
from asyncstream.lab.s3 import LabS3
from asyncstream.lab.sandbox import Function, Sandbox
from tests.benchmarks import checks
from tests.benchmarks.archives import ZIP
from tests.benchmarks.measure import BenchmarkError, rotated
from tests.benchmarks.targets import MIB, gets, puts
from tests.benchmarks.ways import TOP

if TYPE_CHECKING:
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
SECONDS = 600.0  # a guard


@dataclass(frozen=True, slots=True)
class Way:
    """How the function runs."""

    engine: EngineName
    memory_mb: int

    @property
    def name(self) -> str:
        return f"{self.engine}-{self.memory_mb}"


WAYS = tuple(Way(engine, memory) for memory in (256, 512) for engine in ("threads", "asyncio"))


@dataclass(frozen=True, slots=True)
class Run:
    """One run of the function: wall and CPU time in seconds without its init, memory in bytes, requests."""

    seconds: float
    cpu_seconds: float
    peak_bytes: int
    requests: dict[str, int]


def run(
    ways: tuple[Way, ...], rounds: int, console: Console, count: int = OBJECTS, **config: Any
) -> dict[Way, list[Run]]:
    """Run every way in every round, each time in a new environment.

    Raises:
        BenchmarkError: a function failed, or its archive is wrong.
    """
    runs: dict[Way, list[Run]] = {way: [] for way in ways}
    with LabS3(tls=True) as lab, console.status("") as status:
        lab.create_bucket(SOURCE, keep=False)
        lab.declare_many(SOURCE, "object-", count, SIZE)
        functions = [_function(way, lab) for way in ways]
        with Sandbox(functions) as sandbox:
            for number in range(rounds):
                for way in rotated(ways, number):
                    status.update(f"{NAME}: round {number + 1} of {rounds}, {way.name}")
                    sandbox.configure(way.name)  # a new environment
                    runs[way].append(_invoke(sandbox, lab, way, config))
    return runs


def _function(way: Way, lab: LabS3) -> Function:
    return Function(
        name=way.name,
        handler="zipping.handler",
        code=[Path(__file__).with_name("functions"), TOP],
        memory_mb=way.memory_mb,
        timeout=SECONDS,
        environment={**lab.environment(), "ENGINE": way.engine},
        lacks=[],
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


def floor(count: int = OBJECTS) -> float:
    """Return the seconds that the network needs for the bytes of all objects."""
    return count * SIZE / (CARD_MB * 1e6)


def compute_usd(way: Way, seconds: float, count: int = OBJECTS) -> float:
    """Return the USD for the compute of the whole challenge."""
    whole = seconds * WHOLE_BYTES / (count * SIZE)
    return prices.load().compute_usd(prices.gb_seconds(way.memory_mb, whole), "arm64")


def show(runs: dict[Way, list[Run]], console: Console, count: int = OBJECTS) -> None:
    """Print a table, and below it whether the targets are met."""
    title = f"{count:,} objects of 500 KB into a ZIP archive, network {MODEL}, TLS, in a function"
    table = Table(title=title, box=box.SIMPLE)
    table.add_column("function", no_wrap=True)
    for heading in (
        "wall s",
        "range",
        "x floor",
        "CPU s",
        "peak MiB",
        "GETs",
        "PUTs",
        "USD requests",
        "USD compute, 15.7 GB",
    ):
        table.add_column(heading, justify="right")
    for way, measured in runs.items():
        seconds = [each.seconds for each in measured]
        requests = measured[0].requests
        table.add_row(
            way.name,
            f"{statistics.median(seconds):.1f}",
            f"{min(seconds):.1f}-{max(seconds):.1f}",
            f"{statistics.median(seconds) / floor(count):.2f}",
            f"{statistics.median(each.cpu_seconds for each in measured):.2f}",
            f"{statistics.median(each.peak_bytes for each in measured) / MIB:.0f}",
            f"{gets(requests):,}",
            f"{puts(requests):,}",
            f"{prices.load().requests_usd(requests):.4f}",
            f"{compute_usd(way, statistics.median(seconds), count):.4f}",
        )
    console.print(table)
    for verdict in _verdicts(runs, count):
        mark = "[green]met[/green]" if verdict["met"] else "[red]missed[/red]"
        console.print(
            f"{verdict['way']}: {verdict['measured']:.4g} {verdict['metric']} "
            f"(target {verdict['bound']}: {mark})"
        )


def document(runs: dict[Way, list[Run]], count: int = OBJECTS) -> dict[str, Any]:
    """Return all figures for the JSON file."""
    return {
        "objects": count,
        "size": SIZE,
        "model": MODEL,
        "floor_seconds": floor(count),
        "runs": {way.name: [asdict(each) for each in measured] for way, measured in runs.items()},
        "targets": _verdicts(runs, count),
    }


def _verdicts(runs: dict[Way, list[Run]], count: int) -> list[dict[str, Any]]:
    verdicts = []
    for way, measured in runs.items():
        if way.memory_mb != TARGET_MB:
            continue
        seconds = statistics.median(each.seconds for each in measured)
        usd = compute_usd(way, seconds, count)
        for metric, figure, bound in (
            ("x the network's floor", seconds / floor(count), MAX_RATIO),
            ("USD of compute", usd, RUST_USD),
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
