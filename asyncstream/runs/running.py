"""`run_batch`: move the files of one batch of a run, as every kind of worker does."""

from collections.abc import Callable, Sequence

from asyncstream.pipeline.jobs import Pair
from asyncstream.pipeline.session import TransferSession
from asyncstream.runs.outcomes import BatchOutcome
from asyncstream.runs.run_store import RunStore, Timed

# Raises InputError if a worker may not touch a place.
Check = Callable[[Sequence[Pair]], None]


def allow_all(pairs: Sequence[Pair]) -> None:
    """Allow all places."""


def run_batch(
    store: RunStore, number: int, session: TransferSession, timed: Timed, check: Check = allow_all
) -> BatchOutcome:
    """Move the files of a batch that are left, write its outcome, and return it.

    A batch that is done is not moved again.
    """
    raise NotImplementedError
