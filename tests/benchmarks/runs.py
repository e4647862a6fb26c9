"""Runs, simulated: 10 million files of 26 TB on 1,000 functions, and one object of 5 TB on 500.

Nothing is copied. The real packer makes the batches, which `tests/simulated_run.py` runs.
"""

from __future__ import annotations

import random
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from msgspec.structs import replace
from rich import box
from rich.table import Table

from asyncstream.pipeline.continuation import Continuation
from asyncstream.prices import load
from asyncstream.runs.batching import Batch, Packer
from asyncstream.runs.costs import FREE, Cost, Speeds
from asyncstream.runs.estimating import Estimate, estimate
from asyncstream.runs.rows import Row
from asyncstream.units import GiB, rounded
from tests.simulated_run import Simulated, simulate

if TYPE_CHECKING:
    from collections.abc import Iterator

    from rich.console import Console

NAME = "runs"
FILES, FUNCTIONS = 10_000_000, 1_000
# Log-normal sizes: the mean is 2.6 MB, the median 29 KB; one of a thousand files has over 300 MB.
MU, SIGMA = 10.27, 3.0
# One of so many batches is simulated request by request; see `simulate`.
SAMPLE, OLD_SAMPLE = 20, 500
OBJECT, OBJECT_FUNCTIONS = 5 * 10**12, 500
PAGE = 1_000
OLD_BATCH = 40
MAX_RATIO = 1.25  # of the simulated time to the bound

# AWS's other ways, us-east-1, USD. S3 Batch Operations: recorded from aws.amazon.com/s3/pricing, 2026-11-30,
# check before use; it copies objects of up to 5 GB. DataSync, Enhanced mode: AWS's price list of 2025-04-01.
# How long they take is not known.
BATCH_JOB, BATCH_MILLION_OBJECTS = 0.25, 1.00
DATASYNC_GB, DATASYNC_TASK = 0.015, 0.55
PART_COPY = 5 * GiB


@dataclass(frozen=True, slots=True)
class Packing:
    """What the packer took: files per CPU second, the most rows held, and more resident bytes."""

    files_per_cpu_second: float
    most_rows: int
    grown: int


@dataclass(frozen=True, slots=True)
class Found:
    """A run: the simulation, the bound in seconds, and the estimate, with the plan that is not simulated.

    The bound is what all files take of the scarcest of slots, card and CPU, divided by the functions.
    """

    name: str
    bytes: int
    batches: int
    seconds: float
    usd: float
    bound: float
    exact: int
    estimated_seconds: float = 0.0
    estimated_usd: float = 0.0
    plan_seconds: float = 0.0

    @property
    def ratio(self) -> float:
        return self.seconds / self.bound


class Source:
    """Makes the rows of a run page by page, packs them, and measures the packer."""

    def __init__(self, files: int, functions: int) -> None:
        self.packer = Packer(Speeds(), functions)
        self._files = files
        self._cpu_seconds, self._most_rows = 0.0, 0
        self._start = self._most = resident()

    def batches(self) -> Iterator[Batch]:
        """Yield the batches, as they are closed."""
        for first, page in pages(self._files):
            start = time.process_time()
            closed = [batch for row in page for batch in pack(self.packer, row)]
            self.packer.note_share((first + len(page)) / self._files)
            self._cpu_seconds += time.process_time() - start
            self._most_rows = max(self._most_rows, len(self.packer.state.rows))
            self._most = max(self._most, resident())
            yield from closed
        yield from self.packer.close()

    @property
    def packing(self) -> Packing:
        return Packing(self._files / self._cpu_seconds, self._most_rows, self._most - self._start)


def pages(files: int) -> Iterator[tuple[int, list[Row]]]:
    """Yield the number of the first row of each page, and its rows; always the same."""
    chance = random.Random(21)
    for first in range(0, files, PAGE):
        numbers = range(first, min(first + PAGE, files))
        sizes = (int(chance.lognormvariate(MU, SIGMA)) for _ in numbers)
        yield (
            first,
            [
                Row(
                    f"s3://raw/data/{number:010d}", f"s3://clean/data/{number:010d}", size, f'"{number:032x}"'
                )
                for number, size in zip(numbers, sizes, strict=True)
            ],
        )


def pack(packer: Packer, row: Row) -> list[Batch]:
    """Pack a row. A giant gets an upload that no server knows."""
    giant = packer.cut(row.size)
    if giant is None:
        return packer.add(row)
    size, first, step = giant.parts.size, giant.parts.first, giant.parts.step
    upload = Continuation(upload_id="u" * 100, etag=row.etag, size=size, first=first, step=step)
    return packer.add_ranges(replace(row, continuation=upload), giant)


def old_batches(files: int) -> Iterator[Batch]:
    """Yield batches of 40 files in order. A giant is one function's alone, which moves its parts at once."""
    packer, speeds = Packer(Speeds(), FUNCTIONS), Speeds()
    rows: list[Row] = []
    cost = FREE
    for _, page in pages(files):
        for each in page:
            row, taken = _alone(packer, each)
            rows.append(row)
            cost += taken
            if len(rows) == OLD_BATCH:
                yield Batch(rows, cost, speeds.seconds(cost), 0.0)
                rows, cost = [], FREE


def _alone(packer: Packer, row: Row) -> tuple[Row, Cost]:
    """Return a row that one function moves by itself, and what it costs."""
    speeds, giant = Speeds(), packer.cut(row.size)
    if giant is None:
        return row, speeds.file_cost(row.size)
    size, first, step = giant.parts.size, giant.parts.first, giant.parts.step
    only = (1, giant.parts.planned)
    upload = Continuation(upload_id="u", etag=row.etag, size=size, first=first, step=step, only=only)
    return replace(row, continuation=upload), speeds.range_cost(size, only[1])


def run(console: Console, files: int = FILES, functions: int = FUNCTIONS) -> tuple[list[Found], Packing]:
    """Simulate the runs, and return their figures."""
    prices = load()
    with console.status("") as status:
        status.update(f"{NAME}: {files:,} files")
        source = Source(files, functions)
        simulated = simulate(source.batches(), functions, prices, sample=SAMPLE)
        totals = source.packer.totals
        totals.source_lists = files // PAGE
        whole = _found("batches of a minute", source, simulated, functions)
        status.update(f"{NAME}: {files:,} files, 40 in a batch")
        old = simulate(old_batches(files), functions, prices, sample=OLD_SAMPLE)
        count = len(old.batch_seconds)
        bound = whole.bound
        before = Found(
            f"batches of {OLD_BATCH} files", totals.bytes, count, old.seconds, old.usd, bound, old.exact
        )
        status.update(f"{NAME}: one object")
        large = Source(1, OBJECT_FUNCTIONS)
        closed = pack(large.packer, Row("s3://raw/large", "s3://clean/large", OBJECT, '"etag"'))
        closed += large.packer.close()
        one = simulate(closed, OBJECT_FUNCTIONS, prices)
    return [whole, before, _found("one object", large, one, OBJECT_FUNCTIONS)], source.packing


def _found(name: str, source: Source, simulated: Simulated, functions: int) -> Found:
    totals = source.packer.totals
    expected: Estimate = estimate(totals, functions, Speeds(), load())
    seconds = expected.seconds
    running = seconds.total - seconds.plan - seconds.finish
    bound = Speeds().shared_seconds(totals.cost) / functions
    return Found(
        name,
        totals.bytes,
        totals.batches,
        simulated.seconds,
        simulated.usd,
        bound,
        simulated.exact,
        running,
        expected.dollars.total,
        seconds.plan,
    )


def others(files: int, total: int) -> list[tuple[str, str, str]]:
    """Return AWS's other ways: name, minutes, and USD. Only prices are known."""
    prices = load()
    copies = {"UploadPartCopy": -(-OBJECT // PART_COPY), "Create": 1, "Complete": 1}
    job = BATCH_JOB + files / 1e6 * BATCH_MILLION_OBJECTS + prices.requests_usd({"CopyObject": files})
    return [
        ("files: S3 Batch Operations, if none is over 5 GB", "?", f"{job:,.2f}"),
        ("files: DataSync, Enhanced", "?", f"{total / 1e9 * DATASYNC_GB + DATASYNC_TASK:,.2f}"),
        ("object: UploadPartCopy, requests only", "?", f"{prices.requests_usd(copies):,.3f}"),
        ("object: S3 Batch Operations", "refused: over 5 GB", "-"),
        ("object: DataSync, Enhanced", "?", f"{OBJECT / 1e9 * DATASYNC_GB + DATASYNC_TASK:,.2f}"),
    ]


def show(found: list[Found], packing: Packing, files: int, console: Console) -> None:
    """Print the tables."""
    table = Table(title=f"{files:,} files, and one object of {rounded(OBJECT)}: simulated", box=box.MARKDOWN)
    for column in (
        "run",
        "bytes",
        "batches",
        "minutes",
        "x bound",
        "USD",
        "estimate, minutes",
        "USD",
        "plan, minutes",
        "exact",
    ):
        table.add_column(column, justify="left" if column == "run" else "right")
    for each in found:
        known = each.estimated_seconds > 0
        table.add_row(
            each.name,
            rounded(each.bytes),
            f"{each.batches:,}",
            f"{each.seconds / 60:.1f}",
            f"{each.ratio:.2f}",
            f"{each.usd:,.2f}",
            f"{each.estimated_seconds / 60:.1f}" if known else "",
            f"{each.estimated_usd:,.2f}" if known else "",
            f"{each.plan_seconds / 60:.1f}" if known else "",
            f"{each.exact:,}",
        )
    console.print(table)
    met = "met" if found[0].ratio <= MAX_RATIO else "missed"
    console.print(f"- {found[0].name}: {found[0].ratio:.2f} x bound (target {MAX_RATIO}: {met})")
    console.print(
        f"- packer: {packing.files_per_cpu_second:,.0f} files per CPU second, "
        f"at most {packing.most_rows:,} rows held, {packing.grown / 2**20:.0f} MiB more resident memory"
    )
    table = Table(title="other ways of AWS", box=box.MARKDOWN)
    for column in ("way", "minutes", "USD"):
        table.add_column(column, justify="left" if column == "way" else "right")
    for row in others(files, found[0].bytes):
        table.add_row(*row)
    console.print(table)


def document(found: list[Found], packing: Packing) -> dict[str, Any]:
    """Return the figures for the JSON file."""
    return {"runs": [asdict(each) for each in found], "packing": asdict(packing)}


def resident() -> int:
    """Return the resident bytes of this process."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096
