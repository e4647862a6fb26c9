"""A time limit for statements: psycopg itself waits forever."""

import time
from collections.abc import Generator
from typing import Any, TypeVar

T = TypeVar("T")


class TookTooLong(Exception):
    """A statement took too long. Not a TimeoutError, an OSError: psycopg takes it for a lost connection."""


def within(steps: Generator[Any, Any, T], seconds: float) -> Generator[Any, Any, T]:
    """Wrap psycopg's generator of a statement so that it ends after `seconds`.

    psycopg resumes the generator when the socket is ready. While it is not, psycopg resumes it ten times a
    second and sends 0.

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
