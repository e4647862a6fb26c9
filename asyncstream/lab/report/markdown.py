"""A comparison as a comment on a pull request. Pure."""

from collections.abc import Iterator, Sequence

from asyncstream.lab.report.columns import IN_COMMENT, Column, shown
from asyncstream.lab.report.comparison import Comparison
from asyncstream.lab.report.notes import article, heading, notes
from asyncstream.lab.report.rows import Row, Section
from asyncstream.lab.report.verdict import verdict


def markdown(comparison: Comparison) -> str:
    """Return Markdown for GitHub: a verdict and a table per workload, and collapsed notes."""
    return "\n".join(_lines(comparison)) + "\n"


def _lines(comparison: Comparison) -> Iterator[str]:
    for section in comparison.sections:
        yield f"### {escaped(section.workload.name)}"
        yield ""
        found = verdict(section)
        yield from (f"- {escaped(sentence)}" for sentence in (found.sentences() if found else ()))
        yield ""
        yield from _table(comparison, section)
        yield ""
        if measured := article(section.workload):
            yield escaped(measured)
            yield ""
    for error in comparison.errors:
        yield f"- **failed**: {escaped(error)}"
    yield ""
    yield "<details><summary>How this was measured</summary>"
    yield ""
    yield from (f"- {escaped(line)}" for line in [*heading(comparison), *notes(comparison)])
    yield ""
    yield "</details>"


def _table(comparison: Comparison, section: Section) -> Iterator[str]:
    swept = any(row.memory_mb is not None for row in section.rows)
    columns = shown(IN_COMMENT, comparison, section)
    head = ["", "MB" if swept else "needs MB", *(column.name for column in columns)]
    yield f"| {' | '.join(head)} |"
    yield f"|---|{'---:|' * (len(head) - 1)}"
    for row in section.rows:
        cells = _cells(row, columns)
        yield f"| {' | '.join(cells + [''] * (len(head) - len(cells)))} |"


def _cells(row: Row, columns: Sequence[Column]) -> list[str]:
    figures = row.figures
    label = escaped(f"*{row.way.label}*" if row.way.reference else row.way.label)
    if figures is None:
        return [label, f"{row.memory_mb or ''}", row.short]
    return [
        label,
        f"{row.memory_mb or figures.needed_mb:,}",
        *(column.show(figures) for column in columns),
    ]


def escaped(text: str) -> str:
    """Escape text for a table cell or a line."""
    for character in "\\`<>|":
        text = text.replace(character, f"\\{character}")
    return text.replace("\n", " ")
