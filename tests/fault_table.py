"""What became of each fault: told by `test_faults.py`, printed at the end of the run by `conftest.py`.

By properties of the tests' reports, as the tests may run in other processes than the one that prints.
"""

from collections.abc import Callable, Iterator
from typing import Any

from asyncstream.engines import ENGINES

MODES = ("single PUT", "multipart")
PROPERTY = "what became of a fault"


class FaultRecord:
    """Where a test tells what became of its fault.

    Args:
        record_property: pytest's own.
    """

    def __init__(self, record_property: Callable[[str, object], None]) -> None:
        self._record_property = record_property

    def record(self, fault: str, mode: str, engine: str, error: BaseException | None) -> None:
        """Fill a cell of the table."""
        self._record_property(PROPERTY, [fault, mode, engine, type(error).__name__ if error else "recovered"])


class FaultTable:
    """A row a fault, a column a way to copy and engine, in a cell "recovered" or the error's class.

    Args:
        properties: of all tests' reports.
    """

    def __init__(self, properties: list[tuple[str, Any]]) -> None:
        self._rows: dict[str, dict[tuple[str, str], str]] = {}
        for name, value in properties:
            if name == PROPERTY:
                fault, mode, engine, cell = value
                self._rows.setdefault(fault, {})[mode, engine] = cell

    def __bool__(self) -> bool:
        return bool(self._rows)

    def lines(self) -> Iterator[str]:
        """The table as text; "-" where a fault cannot happen."""
        columns = [(mode, engine) for mode in MODES for engine in ENGINES]
        cells = [
            ["", *(mode for mode, _ in columns)],
            ["fault", *(engine for _, engine in columns)],
            *([name, *(found.get(column, "-") for column in columns)] for name, found in self._rows.items()),
        ]
        widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
        for row in cells:
            yield "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
