"""The columns of figures: their headings, values and conditions. Pure."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from asyncstream.lab.report.comparison import Comparison
from asyncstream.lab.report.measurement import Files, Pages
from asyncstream.lab.report.rows import Figures, Section
from asyncstream.prices import per_thousand_runs


class Place(NamedTuple):
    """The place of a column, for its condition."""

    comparison: Comparison
    section: Section


def copies_files(place: Place) -> bool:
    """Return whether the workload copies files."""
    return isinstance(place.section.workload, Files)


def gathers_pages(place: Place) -> bool:
    """Return whether the workload gathers pages."""
    return isinstance(place.section.workload, Pages)


def several_rounds(place: Place) -> bool:
    """Return whether figures have a spread."""
    return place.comparison.rounds > 1


def without_sweep(place: Place) -> bool:
    """Return whether no function sizes were given."""
    return not place.comparison.memory


def with_faults(place: Place) -> bool:
    """Return whether faults were requested."""
    return place.comparison.faults is not None


def on_this_machine(place: Place) -> bool:
    """Return whether the sandbox measured."""
    return place.comparison.environment.cores is not None


def in_lambda(place: Place) -> bool:
    """Return whether Lambda itself measured."""
    return place.comparison.environment.cores is None


@dataclass(frozen=True, slots=True)
class Column:
    """A column.

    Attributes:
        name: the heading of the column.
        narrow: a narrow heading in two lines.
        goes: when a narrow terminal drops the column: 1 first, then 2, 0 never.
        when: the condition for the column; None: always.
    """

    name: str
    narrow: str
    show: Callable[[Figures], str]
    goes: int = 0
    when: Callable[[Place], bool] | None = None


def _short(value: float) -> str:
    """Format a value in at most five characters, for all values that a laptop measures."""
    if value < 9.995:
        return f"{value:.2f}"
    return f"{value:.1f}" if value < 999.95 else f"{value:.0f}"


def _optional(value: float | None) -> str:
    return "-" if value is None else _short(value)


def _requests(figures: Figures, server: str) -> str:
    count = figures.requests.get(server)
    return "-" if count is None else f"{count:,}"


SECONDS = Column("seconds", "\nsec.", lambda f: _short(f.seconds))
RANGE = Column("range", "", lambda f: f"{f.fastest:.2f} to {f.slowest:.2f}", when=several_rounds)
SPREAD = Column(
    "+/- %",
    "+/-\n%",
    lambda f: f"{(f.slowest - f.fastest) / f.seconds * 50:.0f}",
    goes=2,
    when=several_rounds,
)
TIME_RATIO = Column("time ratio", "time\nratio", lambda f: _optional(f.time_ratio))
FLOOR_RATIO = Column(
    "times the floor", "times\nfloor", lambda f: _optional(f.floor_ratio), when=gathers_pages
)
MB_RATE = Column("MB/s", "\nMB/s", lambda f: f"{f.rate:.1f}", goes=2, when=copies_files)
PAGES_RATE = Column("pages/s", "\npages/s", lambda f: f"{f.rate:.1f}", goes=2, when=gathers_pages)
CPU = Column("CPU s", "CPU\nsec.", lambda f: _short(f.cpu_seconds))
START_CPU = Column("start CPU s", "", lambda f: _optional(f.init_cpu_seconds), when=on_this_machine)
START = Column("start s", "", lambda f: _optional(f.init_seconds), when=in_lambda)
PEAK = Column("peak MiB", "peak\nMiB", lambda f: f"{f.peak_bytes / 2**20:.0f}")
REQUESTS = Column("requests", "S3\nreq.", lambda f: f"{f.request_count:,}", when=copies_files)
WEB_REQUESTS = Column("web requests", "web\nreq.", lambda f: _requests(f, "web"), when=gathers_pages)
ROUND_TRIPS = Column(
    "Postgres round trips", "PG\ntrips", lambda f: _requests(f, "postgres"), when=gathers_pages
)
FAULTS = Column("faults", "\nfaults", lambda f: f"{f.fault_count:,}", when=with_faults)
LEFT_OPEN = Column("left open", "left\nopen", lambda f: f"{f.left_open:,}", when=with_faults)
NEEDED = Column("needs MB", "needs\nMB", lambda f: f"{f.needed_mb:,}", when=without_sweep)
GB_SECONDS = Column("GB-s", "GB-\nsec.", lambda f: _short(f.gb_seconds), goes=2)
COMPUTE = Column(
    "compute", "com-\npute", lambda f: per_thousand_runs(f.compute_usd), goes=1, when=copies_files
)
REQUESTS_USD = Column(
    "requests, USD", "re-\nquests", lambda f: per_thousand_runs(f.requests_usd), goes=1, when=copies_files
)
USD = Column("USD per 1,000 runs", "USD/1k\nruns", lambda f: per_thousand_runs(f.usd))
COST_RATIO = Column("cost ratio", "cost\nratio", lambda f: _optional(f.cost_ratio), goes=1)

IN_TERMINAL = (
    *(SECONDS, SPREAD, TIME_RATIO, FLOOR_RATIO, MB_RATE, PAGES_RATE, CPU, PEAK),
    *(REQUESTS, WEB_REQUESTS, ROUND_TRIPS, FAULTS, LEFT_OPEN, NEEDED),
    *(GB_SECONDS, COMPUTE, REQUESTS_USD, USD, COST_RATIO),
)
# In addition to the function's size or `needed_mb`.
IN_COMMENT = (
    *(SECONDS, FLOOR_RATIO, CPU, PEAK, REQUESTS, WEB_REQUESTS, ROUND_TRIPS, FAULTS, LEFT_OPEN),
    *(COMPUTE, REQUESTS_USD, USD),
)
ON_PAGE = (
    *(SECONDS, RANGE, FLOOR_RATIO, MB_RATE, PAGES_RATE, CPU, START_CPU, START, PEAK),
    *(REQUESTS, WEB_REQUESTS, ROUND_TRIPS, FAULTS, LEFT_OPEN),
    *(GB_SECONDS, COMPUTE, REQUESTS_USD, USD, TIME_RATIO, COST_RATIO),
)


def shown(columns: Sequence[Column], comparison: Comparison, section: Section) -> list[Column]:
    """Return the columns whose condition holds for this section."""
    place = Place(comparison, section)
    return [column for column in columns if column.when is None or column.when(place)]
