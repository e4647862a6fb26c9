"""What became of each fault: filled by `test_faults.py`, printed at the end of the run by `conftest.py`."""

from collections.abc import Iterator

from asyncstream.engines import ENGINES

MODES = ("single PUT", "multipart")


class FaultTable:
    """A row a fault, a column a way to copy and engine, in a cell "recovered" or the error's class."""

    def __init__(self) -> None:
        self._rows: dict[str, dict[tuple[str, str], str]] = {}

    def record(self, fault: str, mode: str, engine: str, error: BaseException | None) -> None:
        """Fill a cell."""
        self._rows.setdefault(fault, {})[mode, engine] = type(error).__name__ if error else "recovered"

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
