"""The progress bar of `asyncstream copy`. A transfer's events update it, and rich draws it."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TextIO

from rich.console import Console
from rich.progress import (
    BarColumn,
    DownloadColumn,
    Progress,
    TextColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)

from asyncstream.pipeline.progress import BytesMoved, Event, FileFinished, PartRetried, Planned

# Drawing costs far more than counting, and a chunk arrives every fraction of a millisecond.
SECONDS_BETWEEN_UPDATES = 0.1


class ProgressBar:
    """A bar with bytes, rate and finished files. Any thread may call `on_event`.

    Args:
        out: the terminal to draw on.
    """

    def __init__(self, out: TextIO) -> None:
        self._files = 0
        self._lock = threading.Lock()  # the engine's threads all count here
        self._moved = 0
        self._ended = 0
        self._next_update = 0.0
        self._progress = Progress(
            BarColumn(),
            DownloadColumn(),
            TransferSpeedColumn(),
            TextColumn("{task.fields[files]}"),
            TimeRemainingColumn(),
            console=Console(file=out),
            transient=True,
        )
        self._task = self._progress.add_task("", total=None, files=self._files_text())

    @contextmanager
    def show(self) -> Iterator[None]:
        """Show the bar while the context is open."""
        with self._progress:
            yield

    def on_event(self, event: Event) -> None:
        """Count an event, and redraw at most every `SECONDS_BETWEEN_UPDATES`, or after a file."""
        with self._lock:
            self._count(event)
            now = time.monotonic()
            if now < self._next_update and not isinstance(event, FileFinished):
                return
            self._next_update = now + SECONDS_BETWEEN_UPDATES
            self._progress.update(self._task, completed=self._moved, files=self._files_text())

    def _count(self, event: Event) -> None:
        match event:
            case Planned():
                self._files = event.files
                self._progress.update(self._task, total=event.bytes)
            case BytesMoved():
                self._moved += event.bytes
            case PartRetried():
                self._moved -= event.bytes
            case FileFinished():
                self._ended += 1

    def _files_text(self) -> str:
        return f"{self._ended:,}/{self._files:,} files"
