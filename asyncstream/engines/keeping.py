"""Engines that stay warm: what each session is, and what is kept until the process ends.

`EngineSession` is the base of `TransferSession` and `GatherSession`.
"""

import atexit
import os
from abc import abstractmethod
from collections.abc import Callable, Coroutine, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any, TypeVar

from asyncstream.engines import open_engine
from asyncstream.engines.closing import Closing
from asyncstream.errors import ConfigError
from asyncstream.ports import Engine

T = TypeVar("T")


class EngineSession(Closing):
    """An engine, and the connections that live on it. For one thread at a time.

    Args:
        engine: "sequential", "threads" or "asyncio".

    Raises:
        ConfigError: there is no such engine.
    """

    def __init__(self, engine: str) -> None:
        self._engine = open_engine(engine)
        self._at_work = False

    def close(self) -> None:
        """Close the connections, threads and event loop. What is asked for afterwards opens them anew."""
        self._run(self._close_connections)
        self._engine.close()

    @abstractmethod
    async def _close_connections(self) -> None: ...

    def _run(self, work: Callable[[], Coroutine[Any, Any, T]]) -> T:
        if self._at_work:
            raise ConfigError("this session is at work, in another thread or in a callback: use another one")
        self._at_work = True
        try:
            return self._engine.run(work)
        finally:
            self._at_work = False


_all_kept: list[dict[Any, Any]] = []
_of_the_parent: list[Any] = []


def kept_until_exit() -> dict[Any, Any]:
    """A place for sessions or engines that stay open as long as the process, under keys of the caller's."""
    kept: dict[Any, Any] = {}
    _all_kept.append(kept)
    return kept


# Not at first use: functions run at exit in reverse order, and a user's, registered after this import, may
# still transfer.
@atexit.register
def close_all_kept() -> None:
    """Close all that is kept, though one may fail; runs at exit by itself."""
    with ExitStack() as closing:
        for kept in _all_kept:
            while kept:
                closing.callback(kept.popitem()[1].close)


def _forget_all_kept() -> None:
    """In a forked child: it has none of its parent's threads, and must not share its connections.

    Nor may they be collected there: the parent's event loop would be closed, and so be taken out of the epoll
    that the two processes share.
    """
    for kept in _all_kept:
        _of_the_parent.extend(kept.values())
        kept.clear()


os.register_at_fork(after_in_child=_forget_all_kept)

_idle: dict[str, Engine] = kept_until_exit()


@contextmanager
def borrowed(name: str) -> Iterator[Engine]:
    """The engine of that name for oneself: the one that is kept, or a new one while others have that.

    So mappings may be open within each other, and in several threads.
    """
    engine = _idle.pop(name, None) or open_engine(name)
    try:
        yield engine
    finally:
        if _idle.setdefault(name, engine) is not engine:
            engine.close()
