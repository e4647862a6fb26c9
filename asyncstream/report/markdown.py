"""A comparison as a comment to a pull request: pure; written by `asyncstream compare --markdown`."""

from collections.abc import Iterator

from asyncstream.report.comparison import Comparison
from asyncstream.report.rows import Row, Section
from asyncstream.report.table import heading, notes
from asyncstream.report.verdict import verdict


def markdown(comparison: Comparison) -> str:
    """What GitHub shows well: the verdict, a table a workload, and what else there is to know folded away."""
    return "\n".join(_lines(comparison)) + "\n"


def _lines(comparison: Comparison) -> Iterator[str]:
    for section in comparison.sections:
        yield f"### {escaped(section.workload.name)}"
        yield ""
        found = verdict(section)
        yield from (f"- {escaped(sentence)}" for sentence in (found.sentences() if found else ()))
        yield ""
        yield from _table(section, faults=comparison.network.faults is not None)
        yield ""
    for error in comparison.errors:
        yield f"- **failed**: {escaped(error)}"
    yield ""
    yield "<details><summary>How this was measured</summary>"
    yield ""
    yield from (f"- {escaped(line)}" for line in [*heading(comparison), *notes(comparison)])
    yield ""
    yield "</details>"


def _table(section: Section, *, faults: bool) -> Iterator[str]:
    swept = any(row.memory_mb is not None for row in section.rows)
    size = ["MB"] if swept else ["needs MB"]
    head = [
        "",
        *size,
        "seconds",
        "CPU s",
        "peak MiB",
        "requests",
        *(["faults", "left open"] if faults else []),
        "compute",
        "requests, USD",
        "USD per 1,000 runs",
    ]
    yield f"| {' | '.join(head)} |"
    yield f"|---|{'---:|' * (len(head) - 1)}"
    for row in section.rows:
        cells = _cells(row, faults=faults)
        yield f"| {' | '.join(cells + [''] * (len(head) - len(cells)))} |"


def _cells(row: Row, *, faults: bool) -> list[str]:
    figures = row.figures
    label = escaped(f"*{row.way.label}*" if row.way.reference else row.way.label)
    if figures is None:
        return [label, f"{row.memory_mb or ''}", row.short]
    return [
        label,
        f"{row.memory_mb or figures.needed_mb:,}",
        f"{figures.seconds:.1f}",
        f"{figures.cpu_seconds:.2f}",
        f"{figures.peak_bytes / 2**20:.0f}",
        f"{figures.request_count:,}",
        *([f"{figures.fault_count:,}", f"{figures.left_open:,}"] if faults else []),
        f"{figures.compute_usd * 1000:.3f}",
        f"{figures.requests_usd * 1000:.3f}",
        f"{figures.usd * 1000:.3f}",
    ]


def escaped(text: str) -> str:
    """Text that stays text within a cell or a line."""
    for character in "\\`<>|":
        text = text.replace(character, f"\\{character}")
    return text.replace("\n", " ")
