"""`RunBatches`: runs batches by `move_batch`, with sessions that stay open from one batch to the next."""

from collections.abc import Mapping, Sequence
from typing import Any

from asyncstream.deadline import Notice
from asyncstream.errors import InputError
from asyncstream.pipeline.config import TransferConfig
from asyncstream.pipeline.pairs import Pair
from asyncstream.pipeline.session import TransferSession
from asyncstream.runs.moving import Check, Worker, move_batch
from asyncstream.runs.outcomes import BatchOutcome
from asyncstream.runs.places import Run
from asyncstream.runs.run_store import RunStore


def refuse_functions(pairs: Sequence[Pair], settings: Mapping[str, Any]) -> None:  # noqa: ARG001 - a Check
    """Refuse settings that name a function to transform files by: it would run with the worker's permissions.

    For workers that take any run that a message names.

    Raises:
        InputError: they name a function that is not built in.
    """
    for name in str(settings.get("transform") or "").split(","):
        if ":" in name:
            raise InputError(
                f"the run names the function {name!r:.100}, and the worker takes messages of any run: start "
                "one of this run by --run"
            )


class RunBatches:
    """See `queue_worker.Batches`. A batch has no deadline: its message is hidden for as long as it runs.

    Args:
        session: moves the files.
        store_session: reads and writes the objects of runs; both of its ends are that of the destination.
        config: the settings of transfers, which a run may override.
        notice: ends the files of a batch that runs, so that it can write its outcome.
        check: what a run may touch and use.
    """

    def __init__(
        self,
        session: TransferSession,
        store_session: TransferSession,
        config: TransferConfig,
        notice: Notice,
        check: Check,
    ) -> None:
        self._worker = Worker(session, lambda: config, check, notice)
        self._store_session = store_session

    def run(self, run: Run, number: int) -> BatchOutcome:
        """See `queue_worker.Batches`."""
        return move_batch(self._store(run), number, self._worker)

    def read_outcome(self, run: Run, number: int) -> BatchOutcome | None:
        """See `queue_worker.Batches`."""
        return self._store(run).read_outcome(number)

    def _store(self, run: Run) -> RunStore:
        return RunStore(run, self._store_session, self._worker.timed)
