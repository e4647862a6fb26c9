"""Shows the progress of a comparison on standard error: a live line in a terminal, else plain lines."""

import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any, Protocol, TextIO

from asyncstream.lab.compare.harness import Turn
from asyncstream.lab.report.measurement import Failure, Run, Workload


class Display(Protocol):
    """A display of the comparison's progress."""

    def showing(self, turns: int) -> AbstractContextManager[None]:
        """Show the progress of this many turns while the context is open."""

    def preparing(self, workload: Workload) -> None:
        """Show that the sources of a workload are being prepared."""

    def started(self, turn: Turn) -> None:
        """Show that a run starts."""

    def finished(self, turn: Turn, run: Run | Failure) -> None:
        """Show the result of a run that ended and was verified."""


def display_for(out: TextIO = sys.stderr) -> Display:
    """Return a live display for a terminal, else a plain one."""
    return LiveDisplay(out) if out.isatty() else PlainDisplay(out)


class PlainDisplay:
    """A display with a line for every finished run."""

    def __init__(self, out: TextIO) -> None:
        self._out = out
        self._turns = 0
        self._ended = 0

    @contextmanager
    def showing(self, turns: int) -> Iterator[None]:
        """See `Display`."""
        self._turns = turns
        yield

    def preparing(self, workload: Workload) -> None:
        """See `Display`. Prints nothing."""

    def started(self, turn: Turn) -> None:
        """See `Display`. Prints nothing."""

    def finished(self, turn: Turn, run: Run | Failure) -> None:
        """See `Display`."""
        self._ended += 1
        print(
            f"[{self._ended}/{self._turns}] {_describe_turn(turn)}: {_outcome(run)}",
            file=self._out,
            flush=True,
        )


class LiveDisplay:
    """A display with a bar for all runs, the current run, and a line for each finished one."""

    def __init__(self, out: TextIO) -> None:
        self._out = out
        self._progress: Any = None
        self._task: Any = None

    @contextmanager
    def showing(self, turns: int) -> Iterator[None]:
        """See `Display`."""
        from rich.console import Console  # noqa: PLC0415 - only drawing needs rich
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn  # noqa: PLC0415

        columns = (
            BarColumn(20),
            MofNCompleteColumn(),
            TextColumn("runs"),
            TimeElapsedColumn(),
            TextColumn("{task.description}"),
        )
        with Progress(*columns, console=Console(file=self._out), transient=True) as self._progress:
            self._task = self._progress.add_task("starting the servers", total=turns)
            yield

    def preparing(self, workload: Workload) -> None:
        """See `Display`."""
        self._progress.update(self._task, description=f"preparing {workload.name}")

    def started(self, turn: Turn) -> None:
        """See `Display`."""
        self._progress.update(self._task, description=_describe_turn(turn))

    def finished(self, turn: Turn, run: Run | Failure) -> None:
        """See `Display`."""
        self._progress.update(self._task, advance=1)
        style = "red" if isinstance(run, Failure) else "dim"
        self._progress.console.print(f"{_describe_turn(turn)}: {_outcome(run)}", style=style, markup=False)


def _describe_turn(turn: Turn) -> str:
    size = "" if turn.memory_mb is None else f" at {turn.memory_mb:,} MB"
    again = " again" if turn.repeat else ""
    return f"{turn.workload.name}, {turn.variant.way.label}{size}{again}, round {turn.round}"


def _outcome(run: Run | Failure) -> str:
    if isinstance(run, Failure):
        return f"FAILED  {run.error}"
    faults = "" if run.faults is None else f", faults: {sum(run.faults.values()):,}"
    return f"{run.seconds:.1f} s, verified{faults}"
