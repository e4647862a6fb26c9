"""`drive`: run a coroutine that never suspends with one `send(None)`."""

from collections.abc import Coroutine
from typing import Any, TypeVar, cast

T = TypeVar("T")


class Suspended(RuntimeError):
    """A coroutine suspended, but there is no event loop to resume it."""


def drive(work: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine to its end on this thread and return its result.

    Raises:
        Suspended: it suspended, as an asyncio adapter does under a blocking engine.
    """
    try:
        work.send(None)
    except StopIteration as stop:
        # No variable holds the value: if it contains an error, its traceback may lead to this frame.
        return cast("T", stop.value)
    work.close()
    raise Suspended(f"{work!r} suspended under a blocking engine, where all code must block instead")
