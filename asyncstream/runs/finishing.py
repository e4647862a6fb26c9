"""The last step of a run: `list_left`, `finish_run`, `abort_run`."""

from collections.abc import Sequence

from msgspec import Struct

from asyncstream.pipeline.session import TransferSession
from asyncstream.runs.descriptions import Totals
from asyncstream.runs.outcomes import RowLeft
from asyncstream.runs.run_store import RunStore, Timed
from asyncstream.runs.running import Check, allow_all


class FinishReport(Struct, frozen=True, kw_only=True):
    """How a run ended.

    Attributes:
        pending: whether the time was up; if so, finish again.
        totals: what was planned.
        files, skipped, bytes: what was moved; see `BatchOutcome`. A giant file counts once, when it is whole.
        batches_left: batches that are not done.
        without_outcome: the first numbers of those that left no outcome: their worker died.
        failures: the number of rows and giant files that failed.
        failed: the first of them.
    """

    pending: bool = False
    totals: Totals
    files: int = 0
    skipped: int = 0
    bytes: int = 0
    batches_left: int = 0
    without_outcome: Sequence[int] = ()
    failures: int = 0
    failed: Sequence[RowLeft] = ()


class AbortReport(Struct, frozen=True):
    """How far an abort is.

    Attributes:
        aborted: number of uploads that were aborted.
        pending: whether the time was up; if so, abort again.
    """

    aborted: int = 0
    pending: bool = False


def list_left(store: RunStore, session: TransferSession, timed: Timed) -> int:
    """Write `todo.json` with the batches that are not done, and return their number."""
    raise NotImplementedError


def finish_run(
    store: RunStore, session: TransferSession, timed: Timed, check: Check = allow_all
) -> FinishReport:
    """Complete the giant files of a run, and report what is left."""
    raise NotImplementedError


def abort_run(
    store: RunStore, session: TransferSession, timed: Timed, check: Check = allow_all
) -> AbortReport:
    """Abort the uploads of a run's giant files."""
    raise NotImplementedError
