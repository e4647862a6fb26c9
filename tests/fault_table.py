"""The outcome of each fault: recorded by `test_faults.py`, printed at the end of the run by `conftest.py`.

Properties of the tests' reports carry the outcomes: tests may run in other processes than the printer.
"""

from collections.abc import Callable, Iterator
from typing import Any

from asyncstream.engines import ENGINES, EngineName

MODES = ("single PUT", "multipart")
PROPERTY = "outcome of a fault"


class FaultRecord:
    """Records the outcome of a test's fault.

    Args:
        record_property: pytest's fixture of that name.
    """

    def __init__(self, record_property: Callable[[str, object], None]) -> None:
        self._record_property = record_property

    def record(self, fault: str, mode: str, engine: EngineName, error: BaseException | None) -> None:
        """Fill a cell of the table."""
        self._record_property(PROPERTY, [fault, mode, engine, type(error).__name__ if error else "recovered"])


class FaultTable:
    """One row per fault, one column per mode and engine. A cell is "recovered" or the error's class.

    Args:
        properties: the properties of all tests' reports.
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
        """Yield the table as text; "-" marks a fault that cannot happen."""
        columns = [(mode, engine) for mode in MODES for engine in ENGINES]
        cells = [
            ["", *(mode for mode, _ in columns)],
            ["fault", *(engine for _, engine in columns)],
            *([name, *(found.get(column, "-") for column in columns)] for name, found in self._rows.items()),
        ]
        widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
        for row in cells:
            yield "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
