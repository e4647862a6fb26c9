"""Run calls that cannot be interrupted, each on its own thread.

`getaddrinfo` takes as long as the system's resolver, up to 30 s, even if less time is left. So the caller
waits for a future as long as it likes and then leaves the thread behind. The thread ends with its call. As a
daemon thread, it does not keep the process alive. Python would wait at exit for the threads of an executor,
and a few stuck threads would delay all other lookups.
"""

import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import TypeVar

T = TypeVar("T")


def start_aside(work: Callable[[], T]) -> Future[T]:
    """Start `work` on a new thread; the future has what it returns or raises."""
    future: Future[T] = Future()
    threading.Thread(target=_run, args=(future, work), name="asyncstream-aside", daemon=True).start()
    return future


def _run(future: Future[T], work: Callable[[], T]) -> None:
    if not future.set_running_or_notify_cancel():
        return
    try:
        result = work()
    except BaseException as error:  # noqa: BLE001 - the future raises it for the caller
        future.set_exception(error)
    else:
        future.set_result(result)
