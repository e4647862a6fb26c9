"""How long a statement is waited for: psycopg itself waits for ever."""

import time
from collections.abc import Generator
from typing import Any, TypeVar

T = TypeVar("T")


class TookTooLong(Exception):
    """A statement's time is up. No TimeoutError: that is an OSError, to psycopg a lost connection."""


def within(steps: Generator[Any, Any, T], seconds: float) -> Generator[Any, Any, T]:
    """psycopg's steps of a statement, ended after so many seconds.

    psycopg goes on with the next step when the socket is ready, and ten times a second when it is not: then
    it sends 0.

    Raises:
        TookTooLong: the statement took longer.
    """
    end = time.monotonic() + seconds
    try:
        wanted = next(steps)
        while True:
            ready = yield wanted
            if not ready and time.monotonic() >= end:
                steps.close()
                raise TookTooLong(f"no reply within {seconds:.3g} s")
            wanted = steps.send(ready)
    except StopIteration as stop:
        result: T = stop.value
        return result
