"""Engines that stay warm: in a session, or until the process ends.

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
    """An engine and its connections. Only one thread at a time may use a session.

    Args:
        engine: "sequential", "threads" or "asyncio".

    Raises:
        ConfigError: there is no such engine.
    """

    def __init__(self, engine: str) -> None:
        self._engine = open_engine(engine)
        self._busy = False

    def close(self) -> None:
        """Close the connections, threads and event loop. Later work opens them again."""
        self._run(self._close_connections)
        self._engine.close()

    @abstractmethod
    async def _close_connections(self) -> None: ...

    def _run(self, work: Callable[[], Coroutine[Any, Any, T]]) -> T:
        if self._busy:
            raise ConfigError("this session is busy in another thread or in a callback: use another session")
        self._busy = True
        try:
            return self._engine.run(work)
        finally:
            self._busy = False


_all_kept: list[dict[Any, Any]] = []
# A forked child's references to what its parent keeps.
_inherited: list[Any] = []


def kept_until_exit() -> dict[Any, Any]:
    """Return a dictionary whose values, sessions or engines, are closed when the process exits."""
    kept: dict[Any, Any] = {}
    _all_kept.append(kept)
    return kept


# Registered at import, not at first use. Exit functions run in reverse order, so a user's exit function that
# is registered after this import may still transfer.
@atexit.register
def close_all_kept() -> None:
    """Close everything that is kept, even if closing one of them fails; Python calls it at exit."""
    with ExitStack() as closing:
        for kept in _all_kept:
            while kept:
                closing.callback(kept.popitem()[1].close)


def _forget_all_kept() -> None:
    """Forget the parent's engines in a forked child.

    The child lacks their threads and must not use their connections. It keeps references to the engines,
    since garbage collection would close the parent's event loop and so remove it from the epoll object that
    both processes share.
    """
    for kept in _all_kept:
        _inherited.extend(kept.values())
        kept.clear()


os.register_at_fork(after_in_child=_forget_all_kept)

_idle: dict[str, Engine] = kept_until_exit()


@contextmanager
def borrow_engine(name: str) -> Iterator[Engine]:
    """Provide an engine for exclusive use: the one that is kept, or a new one while that is in use.

    So mappings may be nested and run in several threads.
    """
    engine = _idle.pop(name, None) or open_engine(name)
    try:
        yield engine
    finally:
        if _idle.setdefault(name, engine) is not engine:
            engine.close()
