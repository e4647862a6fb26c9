"""`drive`: runs a coroutine that never suspends, by one `send(None)`."""

from collections.abc import Coroutine
from typing import Any, TypeVar, cast

T = TypeVar("T")


class Suspended(RuntimeError):
    """What was driven waits for an event loop, which is not there."""


def drive(work: Coroutine[Any, Any, T]) -> T:
    """What `work` returns, run to its end on this thread.

    Raises:
        Suspended: an asyncio adapter was used with a blocking engine.
    """
    try:
        work.send(None)
    except StopIteration as stop:
        # In no variable: the traceback of an error in it may lead here, by the frames that called each other.
        return cast("T", stop.value)
    work.close()
    raise Suspended(f"{work!r} suspended under a blocking engine, where all code must block instead")
