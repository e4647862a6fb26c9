"""The JSON document of a comparison."""

from typing import Any

import msgspec

from asyncstream.lab.report.comparison import Comparison
from asyncstream.lab.report.notes import article
from asyncstream.lab.report.rows import Row
from asyncstream.lab.report.verdict import verdict

FORMAT = "asyncstream-compare"
VERSION = 3  # increased if a field changes its meaning or is removed, but not for new fields


def document(comparison: Comparison) -> bytes:
    """Return the comparison as indented JSON: the types of `comparison.py` and `rows.py`, field by field.

    Traces and memory samples are only in the HTML page.
    """
    sections = [
        {
            "workload": section.workload,
            "article": article(section.workload),
            "rows": [_row(row) for row in section.rows],
            "verdict": found.sentences() if (found := verdict(section)) else [],
        }
        for section in comparison.sections
    ]
    fields: dict[str, Any] = {name: getattr(comparison, name) for name in comparison.__struct_fields__}
    whole = {"format": FORMAT, "version": VERSION, **fields, "sections": sections}
    return msgspec.json.format(msgspec.json.encode(whole), indent=2) + b"\n"


def _row(row: Row) -> dict[str, Any]:
    common = {"way": row.way, "memory_mb": row.memory_mb, "errors": row.errors, "noise": row.noise}
    figures = row.figures
    if figures is None:
        return common | {"figures": None}
    fields = {name: getattr(figures, name) for name in figures.__struct_fields__}
    return common | {"figures": {**fields, "usd": figures.usd}}
