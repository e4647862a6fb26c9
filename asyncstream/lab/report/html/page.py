"""Renders the page: puts charts, traces, table and sentences into the template."""

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

FILE_LEGEND = [
    ("read", "reading (GET, its body)"),
    ("write", "writing (PUT)"),
    ("file", "file"),
    ("other", "other spans"),
]
PAGE_LEGEND = [
    ("read", "fetching"),
    ("write", "writing a batch of rows"),
    ("file", "page"),
    ("other", "other spans"),
]


class Part(Struct, frozen=True):
    """The page's content for one workload.

    Attributes:
        section: the workload and its rows.
        columns: the columns of its table of figures.
        verdict: the fastest and cheapest rows. None: nothing was measured.
        article: an article's measurements of this workload, if it has any.
        kinds: the legend of the traces' colours: each kind and its text.
        styles: each variant's style number.
        lines: charts over sizes; empty without a sweep of several sizes.
        bars: charts at one size, with their titles; empty with a sweep.
        smallest: text for the size in the memory charts: a sweep's smallest one, where memory is scarce.
        memory: memory charts of the rows of the smallest size; without a sweep, of all rows.
        chosen: text for the size of the traces: a sweep's best balance.
        traces: charts of the traces of the rows of the chosen size; without a sweep, of all rows.
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
    """Return the whole page as HTML."""
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
    """Return the page's content for one workload."""
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
        section=section,
        columns=shown(ON_PAGE, comparison, section),
        verdict=found,
        article=article(section.workload),
        kinds=PAGE_LEGEND if gathered else FILE_LEGEND,
        styles=numbers,
        lines=[chart for chart in over_sizes if chart is not None] if swept else [],
        bars=[] if swept else at_once,
        smallest=_size_text(scarce),
        memory=charts.memory_charts(scarce, numbers),
        chosen=f"{_size_text(chosen)}, the best balance" if swept and found else _size_text(chosen),
        traces=waterfalls(chosen),
    )


def _smallest(section: Section) -> Sequence[Row]:
    smallest = min(row.memory_mb for row in section.rows if row.memory_mb is not None)
    return [row for row in section.rows if row.memory_mb == smallest]


def _chosen(section: Section, found: Verdict | None) -> Sequence[Row]:
    """Return the rows of the size with the best balance."""
    if found is None or found.balanced is None:
        return section.rows
    size = found.balanced.row.memory_mb
    return [row for row in section.rows if row.memory_mb == size]


def _size_text(rows: Sequence[Row]) -> str:
    """Return the size of the rows as text, if all have the same."""
    sizes = {row.memory_mb for row in rows}
    (size,) = sizes if len(sizes) == 1 else (None,)
    return "" if size is None else f"at {size:,} MB"
