"""How a message ends. Does no I/O.

done    the batch is done: the message is deleted
dead    it cannot be done: the message goes to the dead letters with the reason, and is deleted
again   the worker ends first: the message becomes visible at once, for another worker
left    a try failed: the message becomes visible when its time is over, so that tries do not follow at once
"""

from typing import Literal

from msgspec import Struct

from asyncstream.error_texts import full_message
from asyncstream.errors import AsyncstreamError, InputError, SourceNotFound
from asyncstream.runs.outcomes import BatchOutcome
from asyncstream.units import rounded
from asyncstream.worker.messages import plain

# Another try would fail in the same way: the message or its batch is wrong.
_FOR_GOOD = (InputError, SourceNotFound)


class Ending(Struct, frozen=True):
    """How a message ends.

    Attributes:
        kind: see the table.
        reason: why, in one line; empty if the batch is done.
    """

    kind: Literal["done", "dead", "again", "left"]
    reason: str = ""


DONE = Ending("done")
TAKEN = Ending("left", "its time was over, and another worker may have it")


def of_outcome(outcome: BatchOutcome) -> Ending:
    """Return the ending of a message whose batch was run."""
    if outcome.again:
        return Ending("again", f"the worker ended with {len(outcome.left):,} rows left")
    if not outcome.left:
        return DONE
    first = outcome.failed[0]
    error = f"{first.error.type}: {first.error.message}" if first.error else ""
    return Ending(
        "dead", plain(f"{len(outcome.left):,} of {outcome.rows:,} rows failed; {first.source}: {error}")
    )


def of_error(error: AsyncstreamError, receives: int, most_receives: int) -> Ending:
    """Return the ending of a message whose batch could not be run, or whose outcome not be written."""
    reason = plain(f"{type(error).__name__}: {full_message(error)}")
    if isinstance(error, _FOR_GOOD) or receives >= most_receives:
        return Ending("dead", reason)
    return Ending("left", reason)


def of_receives(receives: int, most_receives: int, outcome: BatchOutcome | None) -> Ending | None:
    """Return the ending of a message that was received too often to be tried once more; None: try it.

    Each run that comes to its end counts in the outcome. The other receives are of workers that were killed
    or lost the message: the batch may be what kills them, such as by its memory.
    """
    if outcome is not None and not outcome.left:
        return None
    runs = outcome.runs if outcome is not None else 0
    if receives - 1 - runs < most_receives:
        return None
    return Ending("dead", f"received {receives:,} times with {runs:,} outcomes: it may end its workers")


def progress(batch: str, outcome: BatchOutcome) -> str:
    """Return one line about a batch that was run."""
    return (
        f"{batch}: {outcome.files:,} files, {rounded(outcome.bytes)} in {outcome.seconds:.1f} s, "
        f"{len(outcome.left):,} left"
    )
