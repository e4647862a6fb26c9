"""The page put together: charts, traces, table and words into the template; called by `cli.py`."""

import base64
import hashlib
from collections.abc import Sequence
from importlib import resources

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup
from msgspec import Struct

from asyncstream.report.comparison import Comparison
from asyncstream.report.html import charts, scales
from asyncstream.report.html.charts import Bar, LineChart, MemoryChart
from asyncstream.report.html.waterfall import Waterfalls, waterfalls
from asyncstream.report.rows import Row, Section
from asyncstream.report.table import heading, notes
from asyncstream.report.verdict import Verdict, verdict


class Part(Struct, frozen=True):
    """What the page shows of one workload.

    Attributes:
        section: its rows.
        verdict: what it comes to, None if nothing was measured.
        styles: each way's number.
        lines: charts over sizes; empty without a sweep.
        bars: charts of one size each, with their titles; empty with a sweep.
        smallest: of which size memory is shown, in words: of a sweep the smallest, where it is scarce.
        memory: of those rows.
        chosen: of which size traces are shown, in words: of a sweep the best balance.
        traces: of those rows.
    """

    section: Section
    verdict: Verdict | None
    styles: dict[str, int]
    lines: list[LineChart]
    bars: list[tuple[str, list[Bar]]]
    smallest: str
    memory: list[MemoryChart]
    chosen: str
    traces: Waterfalls


def page(comparison: Comparison) -> str:
    """The whole page."""
    files = resources.files("asyncstream.report.html")
    script = (files / "page.js").read_text()
    environment = Environment(
        loader=PackageLoader("asyncstream.report.html", "."),
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
        parts=[part(section) for section in comparison.sections],
        style=Markup((files / "style.css").read_text()),  # noqa: S704 - our own files
        script=Markup(script),  # noqa: S704
        script_hash=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
    )


def part(section: Section) -> Part:
    """One workload."""
    found = verdict(section)
    swept = any(row.memory_mb is not None for row in section.rows)
    shown = _chosen(section, found)
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
            "Cost of 1,000 runs: compute, then requests",
            charts.bars(
                section,
                lambda figures: [figures.compute_usd * 1000, figures.requests_usd * 1000],
                scales.dollars,
            ),
        ),
    ]
    size = shown[0].memory_mb if shown else None
    smallest = min((row.memory_mb for row in section.rows if row.memory_mb is not None), default=None)
    return Part(
        section,
        found,
        numbers,
        [chart for chart in over_sizes if chart is not None] if swept else [],
        [] if swept else at_once,
        "" if smallest is None else f"at {smallest:,} MB",
        charts.memory_charts([row for row in section.rows if row.memory_mb == smallest], numbers),
        "" if size is None else f"at {size:,} MB, the best balance",
        waterfalls(shown),
    )


def _chosen(section: Section, found: Verdict | None) -> Sequence[Row]:
    """The rows of which there are pictures: of a sweep those of the size that was the best balance."""
    if found is None or found.balanced is None:
        return section.rows
    size = found.balanced.row.memory_mb
    return [row for row in section.rows if row.memory_mb == size]
