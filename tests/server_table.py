"""What each server can do: recorded by `test_server_table.py`, printed at the end of the run, kept in docs/.

Properties of the tests' reports carry the rows: tests may run in other processes than the printer.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

PAGE = Path(__file__).parents[1] / "docs" / "servers.md"
PROPERTY = "capabilities of a server"
NOTHING = "nothing"


def rows(server: str, cells: Mapping[str, str], without: Sequence[str]) -> tuple[str, str]:
    """Return a server's rows of both tables: what it can do, and what a transfer to it goes without."""
    return _row([server, *cells.values()]), _row([server, "; ".join(without) or NOTHING])


class ServerTable:
    """Two tables in Markdown: the capabilities of each server, and what transfers do without them.

    Args:
        properties: the properties of all tests' reports. Engines that measure the same share a row.
    """

    def __init__(self, properties: Iterable[tuple[str, Any]]) -> None:
        self._columns: list[str] = []
        self._rows: dict[tuple[str, str], None] = {}
        for name, value in properties:
            if name == PROPERTY:
                server, cells, without = value
                self._columns = [*cells]
                self._rows[rows(server, cells, without)] = None

    def __bool__(self) -> bool:
        return bool(self._rows)

    def lines(self) -> Iterator[str]:
        """Yield both tables."""
        for number, columns in enumerate((self._columns, ["a transfer goes without"])):
            yield _row(["server", *columns])
            yield _row(["---"] * (1 + len(columns)))
            yield from dict.fromkeys(row[number] for row in self._rows)
            yield ""


def _row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"
