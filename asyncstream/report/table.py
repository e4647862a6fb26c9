"""The tables of a comparison in a terminal: drawn with rich, called by `asyncstream compare`.

All figures are shown where there is room (about 100 columns). Where there is not, what can be had from
others goes: the two halves of the price, and the cost ratio; then rates, GB-seconds and the spread. A sweep
has a row for each size of function.
"""

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import product
from typing import TextIO

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text

from asyncstream.report.comparison import Comparison
from asyncstream.report.measurement import Workload
from asyncstream.report.rows import Figures, Row, Section
from asyncstream.report.sizing import MB_PER_VCPU, SMALLEST_MB, SPARE
from asyncstream.report.verdict import TIE, verdict

# Where no terminal tells a width: files, pipes, the logs of a CI.
DEFAULT_WIDTH = 118

# What the article that this project answers measured on Lambda. Not a column: its code is nobody's row.
ARTICLE_WORKLOAD = Workload(10, 100_000_000)
ARTICLE = "For comparison, the article on Lambda: 21 s one by one, 13 s threads, 12 s threads + multipart."


@dataclass(frozen=True, slots=True)
class Column:
    """A column: its heading in two lines, what it shows, and where alone it belongs.

    `goes` tells which go together where there is no room: 1 first, then 2; 0 stays.
    """

    heading: str
    show: Callable[[Figures], str]
    goes: int = 0
    several_rounds: bool = False
    no_sweep: bool = False
    only_faults: bool = False


COLUMNS = (
    Column("\nsec.", lambda f: _short(f.seconds)),
    Column(
        "+/-\n%", lambda f: f"{(f.slowest - f.fastest) / f.seconds * 50:.0f}", goes=2, several_rounds=True
    ),
    Column("time\nratio", lambda f: _ratio(f.time_ratio)),
    Column("\nMB/s", lambda f: f"{f.megabytes_per_second:.1f}", goes=2),
    Column("CPU\nsec.", lambda f: _short(f.cpu_seconds)),
    Column("peak\nMiB", lambda f: f"{f.peak_bytes / 2**20:.0f}"),
    Column("S3\nreq.", lambda f: f"{f.request_count:,}"),
    Column("\nfaults", lambda f: f"{f.fault_count:,}", only_faults=True),
    Column("left\nopen", lambda f: f"{f.left_open:,}", only_faults=True),
    Column("needs\nMB", lambda f: f"{f.needed_mb:,}", no_sweep=True),
    Column("GB-\nsec.", lambda f: _short(f.gb_seconds), goes=2),
    Column("com-\npute", lambda f: f"{f.compute_usd * 1000:.3f}", goes=1),
    Column("re-\nquests", lambda f: f"{f.requests_usd * 1000:.3f}", goes=1),
    Column("USD/1k\nruns", lambda f: f"{f.usd * 1000:.3f}"),
    Column("cost\nratio", lambda f: _ratio(f.cost_ratio), goes=1),
)


def draw(comparison: Comparison, out: TextIO) -> None:
    """Print the whole comparison, as wide as the terminal is."""
    told = out.isatty() or "COLUMNS" in os.environ
    console = Console(file=out, highlight=False, width=None if told else DEFAULT_WIDTH)
    for line in heading(comparison):
        console.print(Text(line))
    for section in comparison.sections:
        _draw_section(console, section, comparison)
    console.print()
    for line in notes(comparison):
        console.print(Text(line, style="dim"))
    for error in comparison.errors:
        console.print(Text(f"FAILED  {error}", style="bold red"))


def heading(comparison: Comparison) -> Iterator[str]:
    """What ran, on what network, and where."""
    names = " and ".join(section.workload.name for section in comparison.sections)
    rounds = "1 round" if comparison.rounds == 1 else f"{comparison.rounds} rounds (medians)"
    changed = (
        "" if comparison.transform is None else f", each file changed on its way by {comparison.transform}"
    )
    yield (
        f"Copying {names} from S3 to S3{changed}: each run is a function's invocation in an environment of "
        f"its own, {comparison.concurrency} at once where it is not one by one, {rounds}."
    )
    network = comparison.network
    wrong = "" if network.faults is None else f" {100 * network.faults:g} % of requests go wrong."
    yield f"S3: {network.server}{', over TLS' if network.tls else ''}. {_model(network.model)}{wrong}"
    environment = comparison.environment
    machine = [f"{environment.cores} cores"] if environment.cores is not None else []
    machine += [environment.system, f"Python {environment.python}"]
    machine += [f"{name} {version}" for name, version in environment.packages.items()]
    yield f"Machine: {', '.join(machine)}."


def notes(comparison: Comparison) -> Iterator[str]:
    """How to read the figures."""
    cores = comparison.environment.cores
    if comparison.memory:
        whose = "" if cores is None else " Wall times are those of this machine's CPU."
        yield (
            f"Each size has its share of a vCPU (1 is {MB_PER_VCPU:,} MB) and its memory: "
            f"{comparison.limits}.{whose}"
        )
        if cores is not None and max(comparison.memory) > cores * MB_PER_VCPU:
            yield f"Sizes above {cores * MB_PER_VCPU:,} MB had no more than this machine's {cores} CPUs."
    else:
        yield (
            f"needs MB: the smallest Lambda memory with room for the peak and {SPARE - 1:.0%} more, and with "
            f"the CPU that was used (1 vCPU is {MB_PER_VCPU:,} MB; at least {SMALLEST_MB}). It is what "
            "GB-seconds are counted with. Nothing was held back: --memory 128,512 tries sizes."
        )
    billing = comparison.billing
    prices = billing.prices
    yield (
        f"USD of 1,000 such runs: compute on {billing.architecture} and requests to S3, {prices.region}, "
        f"prices of {prices.date} ({prices.source})."
    )
    yield from _faults(comparison)
    yield from _starts(comparison)
    noises = [noise for section in comparison.sections for noise in _noises(section)]
    if noises:
        yield f"Noise: one way measured twice came out apart by {', '.join(noises)}; less is called a tie."
    else:
        yield f"No way was measured twice: a difference of less than {TIE:.0%} is called a tie."
    against = "" if comparison.transform is None else f", against {comparison.transform} run by itself"
    yield f"Verified: every byte of {comparison.verified} runs (size and CRC64NVME of each file{against})."
    if comparison.ended_early:
        yield f"Ended early ({comparison.ended_early}): the rows that are missing were not measured."
    if comparison.untraced:
        yield f"Traces are missing: {comparison.untraced}."
    yield f"Again: {comparison.command}"


def _faults(comparison: Comparison) -> Iterator[str]:
    """What went wrong on purpose."""
    if comparison.network.faults is None:
        return
    figures = [row.figures for section in comparison.sections for row in section.rows if row.figures]
    kinds = sorted({kind for each in figures for kind in each.faults or ()})
    named = f" ({', '.join(kinds)})" if kinds else ""
    yield (
        f"faults: requests that were made to go wrong{named}, the same ones in every way that sends them. "
        "left open: uploads that were neither completed nor aborted, and are paid for until they are."
    )


def _starts(comparison: Comparison) -> Iterator[str]:
    """What it took to start an environment: CPU time, or what Lambda tells."""
    of = {
        row.way.label: row.figures
        for section in comparison.sections
        for row in section.rows
        if row.figures is not None
    }
    cpu = [f"{label} {f.init_cpu_seconds:.2f}" for label, f in of.items() if f.init_cpu_seconds is not None]
    wall = [f"{label} {f.init_seconds:.2f}" for label, f in of.items() if f.init_seconds is not None]
    if cpu or wall:
        what = "CPU seconds" if cpu else "seconds"
        yield (
            f"Not in the figures: {what} of the environment's start, imports included: "
            f"{', '.join(cpu or wall)}."
        )


def _noises(section: Section) -> Iterator[str]:
    """Of each size, once: how far apart one way measured twice came out."""
    for memory_mb, noise in {row.memory_mb: row.noise for row in section.rows}.items():
        if noise is not None:
            size = f" at {memory_mb:,} MB" if memory_mb is not None else ""
            yield f"{noise:.1%} ({section.workload.name}{size})"


def _model(model: str | None) -> str:
    if model is None:
        return "No network model: what it gives."
    if model == "off":
        return "Network model off: as fast as this machine is."
    connection, card, first_byte, *jitter = model.split("/")
    told = f"{connection} MB/s a connection, {card} MB/s together each way, {first_byte} ms to the first byte"
    if jitter:
        told += f" (jitter {jitter[0]} %)"
    origin = ", one fit of the article's figures on Lambda" if model == "53/90/25" else ""
    return f"Network model {told}{origin}."


def _draw_section(console: Console, section: Section, comparison: Comparison) -> None:
    columns = [
        column
        for column in COLUMNS
        if not (column.several_rounds and comparison.rounds == 1)
        and not (column.no_sweep and comparison.memory)
        and not (column.only_faults and comparison.network.faults is None)
    ]
    kept = [[column for column in columns if column.goes not in gone] for gone in ((), (1,), (1, 2))]
    forms = [_table(section, shown, padding) for shown, padding in product(kept, (1, 0))]
    boundless = console.options.update_width(1000)
    fitting = [f for f in forms if console.measure(f, options=boundless).maximum <= console.width]
    console.print()
    console.print(fitting[0] if fitting else forms[-1])
    if section.workload == ARTICLE_WORKLOAD:
        console.print(Text(ARTICLE, style="dim"))
    found = verdict(section)
    for sentence in found.sentences() if found else ():
        console.print(Text(sentence, style="bold"))


def _table(section: Section, columns: list[Column], padding: int) -> Table:
    table = Table(
        box=SIMPLE_HEAD,
        show_edge=False,
        padding=(0, padding, 0, 0),
        title=section.workload.name,
        title_justify="left",
        title_style="bold",
    )
    swept = len(section.rows) > len({row.way.name for row in section.rows})
    table.add_column("", no_wrap=True)
    if any(row.memory_mb is not None for row in section.rows):
        table.add_column("\nMB", justify="right", no_wrap=True)
    for column in columns:
        table.add_column(column.heading, justify="right", no_wrap=True)
    rows = sorted(section.rows, key=lambda row: row.way.reference)
    for before, row, after in zip([None, *rows], rows, [*rows[1:], None], strict=False):
        new_way = before is None or before.way != row.way
        last_of_way = after is not None and after.way != row.way
        last_of_ours = after is not None and after.way.reference and not row.way.reference
        size = [f"{row.memory_mb:,}"] if row.memory_mb is not None else []
        table.add_row(
            _label(row) if new_way or row.errors else "",
            *size,
            *_cells(row, columns),
            end_section=last_of_way if swept else last_of_ours,
            style="italic" if row.way.reference else None,
        )
    return table


def _label(row: Row) -> str:
    return f"{row.way.label} (!)" if row.errors and row.figures is not None else row.way.label


def _cells(row: Row, columns: list[Column]) -> list[str]:
    if row.figures is None:
        return [row.short]
    return [column.show(row.figures) for column in columns]


def _short(value: float) -> str:
    """At most five characters, for whatever a laptop can measure."""
    if value < 9.995:
        return f"{value:.2f}"
    return f"{value:.1f}" if value < 999.95 else f"{value:.0f}"


def _ratio(ratio: float | None) -> str:
    return "-" if ratio is None else _short(ratio)
