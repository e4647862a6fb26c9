"""The processes that a command line has started, for tests of what is left of them."""

from contextlib import suppress
from pathlib import Path


def descendants(pid: int) -> list[int]:
    """The processes that a process has started in any of its threads, and those that they have."""
    found: list[str] = []
    for children in Path(f"/proc/{pid}/task").glob("*/children"):
        with suppress(FileNotFoundError, ProcessLookupError):  # it has ended meanwhile
            found += children.read_text().split()
    return [child for text in found for child in (int(text), *descendants(int(text)))]
