"""The tables of a comparison in a terminal, drawn with rich.

A terminal of about 100 columns shows all figures. Narrower ones drop figures that follow from others: first
the two halves of the cost and the cost ratio, then rates, GB-seconds and the spread. A sweep has a row for
each size.
"""

import os
from itertools import product
from typing import TextIO

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text

from asyncstream.lab.report.columns import IN_TERMINAL, Column, shown
from asyncstream.lab.report.comparison import Comparison
from asyncstream.lab.report.notes import article, heading, notes
from asyncstream.lab.report.rows import Row, Section
from asyncstream.lab.report.verdict import verdict

# The width for files, pipes and CI logs.
DEFAULT_WIDTH = 118


def draw(comparison: Comparison, out: TextIO) -> None:
    """Print the whole comparison in the width of the terminal."""
    has_width = out.isatty() or "COLUMNS" in os.environ
    console = Console(file=out, highlight=False, width=None if has_width else DEFAULT_WIDTH)
    for line in heading(comparison):
        console.print(Text(line))
    for section in comparison.sections:
        _draw_section(console, section, comparison)
    console.print()
    for line in notes(comparison):
        console.print(Text(line, style="dim"))
    for error in comparison.errors:
        console.print(Text(f"FAILED  {error}", style="bold red"))


def _draw_section(console: Console, section: Section, comparison: Comparison) -> None:
    columns = shown(IN_TERMINAL, comparison, section)
    kept = [[column for column in columns if column.goes not in gone] for gone in ((), (1,), (1, 2))]
    forms = [_table(section, those, padding) for those, padding in product(kept, (1, 0))]
    boundless = console.options.update_width(1000)
    fitting = [f for f in forms if console.measure(f, options=boundless).maximum <= console.width]
    console.print()
    console.print(fitting[0] if fitting else forms[-1])
    if measured := article(section.workload):
        console.print(Text(measured, style="dim"))
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
        table.add_column(column.narrow, justify="right", no_wrap=True)
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
