"""The page put together: charts, traces, table and words into the template."""

import base64
import hashlib
from collections.abc import Sequence
from importlib import resources

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup
from msgspec import Struct

from asyncstream.lab.report.columns import ON_PAGE, Column, shown
from asyncstream.lab.report.comparison import Comparison
from asyncstream.lab.report.html import charts, scales
from asyncstream.lab.report.html.charts import Bar, LineChart, MemoryChart
from asyncstream.lab.report.html.waterfall import Waterfalls, waterfalls
from asyncstream.lab.report.measurement import Pages
from asyncstream.lab.report.notes import article, heading, notes
from asyncstream.lab.report.rows import Row, Section
from asyncstream.lab.report.verdict import Verdict, verdict

OF_FILES = [
    ("read", "reading (GET, its body)"),
    ("write", "writing (PUT)"),
    ("file", "file"),
    ("other", "other spans"),
]
OF_PAGES = [
    ("read", "fetching"),
    ("write", "writing a batch of rows"),
    ("file", "page"),
    ("other", "other spans"),
]


class Part(Struct, frozen=True):
    """What the page shows of one workload.

    Attributes:
        section: its rows.
        columns: of the table of figures.
        verdict: what it comes to, None if nothing was measured.
        article: what an article measured of such a workload, if one did.
        kinds: what the colours of the traces mean: each kind and its words.
        styles: each way's number.
        lines: charts over sizes; empty without a sweep, which is where one way has several.
        bars: charts of one size each, with their titles; empty with a sweep.
        smallest: of which size memory is shown, in words: of a sweep the smallest, where it is scarce.
        memory: of those rows; without a sweep, of all.
        chosen: of which size traces are shown, in words: of a sweep the best balance.
        traces: of those rows; without a sweep, of all.
    """

    section: Section
    columns: list[Column]
    verdict: Verdict | None
    article: str | None
    kinds: list[tuple[str, str]]
    styles: dict[str, int]
    lines: list[LineChart]
    bars: list[tuple[str, list[Bar]]]
    smallest: str
    memory: list[MemoryChart]
    chosen: str
    traces: Waterfalls


def page(comparison: Comparison) -> str:
    """The whole page."""
    files = resources.files("asyncstream.lab.report.html")
    script = (files / "page.js").read_text()
    environment = Environment(
        loader=PackageLoader("asyncstream.lab.report.html", "."),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"seconds": scales.seconds, "dollars": scales.dollars, "short": scales.short}
    return environment.get_template("page.html.j2").render(
        comparison=comparison,
        heading=list(heading(comparison)),
        notes=list(notes(comparison)),
        parts=[part(comparison, section) for section in comparison.sections],
        style=Markup((files / "style.css").read_text()),  # noqa: S704 - our own files
        script=Markup(script),  # noqa: S704
        script_hash=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
    )


def part(comparison: Comparison, section: Section) -> Part:
    """One workload."""
    found = verdict(section)
    gathered = isinstance(section.workload, Pages)
    swept = len(section.rows) > len({row.way.name for row in section.rows})
    scarce = _smallest(section) if swept else section.rows
    chosen = _chosen(section, found) if swept else section.rows
    numbers = charts.styles(section)
    over_sizes = [
        charts.line_chart(section, "Seconds", lambda figures: figures.seconds, scales.seconds),
        charts.line_chart(
            section,
            "USD per 1,000 runs",
            lambda figures: figures.usd * 1000,
            lambda value: f"{scales.dollars(value)} per 1,000 runs",
        ),
    ]
    at_once = [
        ("Time", charts.bars(section, lambda figures: [figures.seconds], scales.seconds)),
        (
            "Cost of 1,000 runs" if gathered else "Cost of 1,000 runs: compute, then requests",
            charts.bars(
                section,
                lambda figures: [figures.compute_usd * 1000, figures.requests_usd * 1000],
                scales.dollars,
            ),
        ),
    ]
    return Part(
        section,
        shown(ON_PAGE, comparison, section),
        found,
        article(section.workload),
        OF_PAGES if gathered else OF_FILES,
        numbers,
        [chart for chart in over_sizes if chart is not None] if swept else [],
        [] if swept else at_once,
        _size_of(scarce),
        charts.memory_charts(scarce, numbers),
        f"{_size_of(chosen)}, the best balance" if swept and found else _size_of(chosen),
        waterfalls(chosen),
    )


def _smallest(section: Section) -> Sequence[Row]:
    smallest = min(row.memory_mb for row in section.rows if row.memory_mb is not None)
    return [row for row in section.rows if row.memory_mb == smallest]


def _chosen(section: Section, found: Verdict | None) -> Sequence[Row]:
    """The rows of the size that was the best balance."""
    if found is None or found.balanced is None:
        return section.rows
    size = found.balanced.row.memory_mb
    return [row for row in section.rows if row.memory_mb == size]


def _size_of(rows: Sequence[Row]) -> str:
    """Their size in words, where all have the same."""
    sizes = {row.memory_mb for row in rows}
    (size,) = sizes if len(sizes) == 1 else (None,)
    return "" if size is None else f"at {size:,} MB"
