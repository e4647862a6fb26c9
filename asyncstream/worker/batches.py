"""`RunBatches`: runs batches by `run_batch`, with sessions that stay open from one batch to the next."""

from asyncstream.deadline import Notice
from asyncstream.pipeline.config import TransferConfig
from asyncstream.pipeline.session import TransferSession
from asyncstream.runs.outcomes import BatchOutcome
from asyncstream.runs.places import Run
from asyncstream.runs.run_store import RunStore
from asyncstream.runs.running import Worker, run_batch


class RunBatches:
    """See `working.Batches`. A batch has no deadline: its message is hidden for as long as it runs.

    Args:
        session: moves the files.
        store_session: reads and writes the objects of runs; both of its ends are that of the destination.
        config: the settings of transfers, which a run may override.
        notice: ends the files of a batch that runs, so that it can write its outcome.
    """

    def __init__(
        self, session: TransferSession, store_session: TransferSession, config: TransferConfig, notice: Notice
    ) -> None:
        self._worker = Worker(session, lambda: config, notice=notice)
        self._store_session = store_session

    def run(self, run: Run, number: int) -> BatchOutcome:
        """See `working.Batches`."""
        return run_batch(self._store(run), number, self._worker)

    def read_outcome(self, run: Run, number: int) -> BatchOutcome | None:
        """See `working.Batches`."""
        return self._store(run).read_outcome(number)

    def _store(self, run: Run) -> RunStore:
        return RunStore(run, self._store_session, self._worker.timed)
