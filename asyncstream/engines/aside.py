"""Calls that nothing can interrupt, each on a thread of its own.

`getaddrinfo` waits as long as the system's resolver does, up to 30 s, whatever the time left. So the caller
waits for a future, as long as it wants to, and leaves the thread behind: it ends with its call, and being a
daemon it does not keep the process. An executor's threads would be joined at exit, and a few stuck ones would
keep all other lookups waiting.
"""

import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import TypeVar

T = TypeVar("T")


def aside(work: Callable[[], T]) -> Future[T]:
    """Begin it; what it returns or raises is the future's."""
    future: Future[T] = Future()
    threading.Thread(target=_run, args=(future, work), name="asyncstream-aside", daemon=True).start()
    return future


def _run(future: Future[T], work: Callable[[], T]) -> None:
    if not future.set_running_or_notify_cancel():
        return
    try:
        result = work()
    except BaseException as error:  # noqa: BLE001 - it is the caller's
        future.set_exception(error)
    else:
        future.set_result(result)
