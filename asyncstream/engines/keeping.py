"""Engines that stay warm: in a session, or until the process ends.

`EngineSession` is the base of `TransferSession` and `GatherSession`. `Kept` keeps sessions and engines for
the next caller.
"""

import atexit
import logging
import os
import threading
from abc import abstractmethod
from collections.abc import Callable, Coroutine, Hashable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from typing import Any, Generic, Protocol, TypeVar
from weakref import WeakSet

from asyncstream.engines import EngineName, open_engine
from asyncstream.engines.aside import start_aside
from asyncstream.engines.closing import Closing
from asyncstream.errors import ConfigError
from asyncstream.ports import Engine

logger = logging.getLogger(__name__)

T = TypeVar("T")

# The most sessions, and the most engines, that wait for their next caller. A waiting session has 6 MB of
# clients (measured).
MAX_IDLE = 8


class EngineSession(Closing):
    """An engine and its connections. Only one thread at a time may use a session, and no forked child.

    Args:
        engine: "sequential", "threads" or "asyncio".

    Raises:
        ConfigError: there is no such engine.
    """

    def __init__(self, engine: EngineName) -> None:
        self._engine = open_engine(engine)
        self._busy = False
        # The process of its connections, threads and event loop; None while it has none.
        self._process: int | None = None
        _sessions.add(self)

    def close(self) -> None:
        """Close the connections, threads and event loop. Later work opens them again.

        In a forked child of the process that opened them, do nothing.
        """
        if self._process in (None, os.getpid()):
            self._run(self._close_connections)
            self._engine.close()
            self._process = None

    @abstractmethod
    async def _close_connections(self) -> None: ...

    def _run(self, work: Callable[[], Coroutine[Any, Any, T]]) -> T:
        self._process = self._process or os.getpid()
        check_process(self._process)
        if self._busy:
            raise ConfigError("this session is busy in another thread or in a callback: use another session")
        self._busy = True
        try:
            return self._engine.run(work)
        finally:
            self._busy = False


def check_process(opened_by: int) -> None:
    """Check that this process, and not its parent before a fork, has opened a session.

    A child lacks the threads of its parent, and its bytes would mix with its parent's on their connections.

    Raises:
        ConfigError: the parent has opened the session.
    """
    if opened_by != os.getpid():
        raise ConfigError(
            f"process {opened_by} has used this session, so its forked child {os.getpid()} cannot: "
            "open a session in the child, or call transfer() there"
        )


class _Closable(Protocol):
    def close(self) -> None: ...


Key = TypeVar("Key", bound=Hashable)
Value = TypeVar("Value", bound=_Closable)


class Kept(Generic[Key, Value]):
    """Sessions or engines that are kept for the next caller, until the process exits.

    Any number of threads may borrow at the same time: each has a value of its own. The `MAX_IDLE` unused
    values that were used last are kept, for all keys together, and the others are closed.

    Args:
        create: returns a new value for a key.
    """

    def __init__(self, create: Callable[[Key], Value]) -> None:
        self._create = create
        self._start_empty()
        _all_kept.append(self)

    def _start_empty(self) -> None:
        # Reentrant: the garbage collector or a signal handler may return or borrow a value at any time.
        self._lock = threading.RLock()
        # The last one was used last.
        self._idle: list[tuple[Key, Value]] = []
        self._borrowed: dict[int, Value] = {}

    @contextmanager
    def borrow(self, key: Key) -> Iterator[Value]:
        """Provide a value for exclusive use: the idle one that was used last, or else a new one."""
        value = self._take(key)
        try:
            yield value
        finally:
            self._give_back(key, value)

    def close_idle(self) -> None:
        """Close the idle values, even if closing one of them fails."""
        with self._lock:
            idle, self._idle = self._idle, []
        with ExitStack() as closing:
            for _, value in idle:
                closing.callback(value.close)

    def forget(self) -> list[Any]:
        """Forget all values, and return them; for a forked child, which must not close its parent's."""
        # Another thread of the parent may have held the lock, so this does not take it.
        inherited = [*self._borrowed.values(), *(value for _, value in self._idle)]
        self._start_empty()
        return inherited

    def _take(self, key: Key) -> Value:
        value = self._take_idle(key)
        if value is None:
            value = self._create(key)
        self._borrowed[id(value)] = value
        return value

    def _take_idle(self, key: Key) -> Value | None:
        with self._lock:
            candidates = [entry for entry in self._idle if entry[0] == key]
            while candidates:
                entry = candidates.pop()
                # A signal handler may have taken it since. `remove` is one step, also for such a handler.
                with suppress(ValueError):
                    self._idle.remove(entry)
                    return entry[1]
        return None

    def _give_back(self, key: Key, value: Value) -> None:
        with self._lock:
            if self._borrowed.pop(id(value), None) is None:
                return  # this process was forked while its parent used the value
            self._idle.append((key, value))
            surplus = []
            with suppress(IndexError):  # a signal handler may have taken the last one
                while len(self._idle) > MAX_IDLE:
                    surplus.append(self._idle.pop(0))
        for _, each in surplus:
            _close_aside(each)


def _close_aside(value: _Closable) -> None:
    """Close a value on a thread of its own: an event loop cannot close while another one runs on its thread.

    An error is only logged: the caller's own work has succeeded.
    """
    try:
        start_aside(value.close).result()
    except Exception:
        logger.warning("an unused session could not be closed", exc_info=True)


_all_kept: list[Kept[Any, Any]] = []
# All sessions, and those of a forked child's parent.
_sessions: WeakSet[EngineSession] = WeakSet()
_inherited: list[Any] = []


# Registered at import, not at first use. Exit functions run in reverse order, so a user's exit function that
# is registered after this import may still transfer.
@atexit.register
def close_all_kept() -> None:
    """Close everything that is kept, even if closing one of them fails; Python calls it at exit.

    What a thread uses at this moment is not closed. It is kept for the next caller when the thread is done.
    """
    with ExitStack() as closing:
        for kept in _all_kept:
            closing.callback(kept.close_idle)


def _forget_all_kept() -> None:
    """Forget the parent's engines and sessions in a forked child.

    The child lacks their threads and must not use their connections. Neither may it free them, even when it
    exits: that would remove them from the epoll object that both processes share, and the parent would wait
    forever. uvloop's loop would crash the child.
    """
    for kept in _all_kept:
        _inherited.extend(kept.forget())
    _inherited.extend(_sessions)
    if _inherited:
        with suppress(ImportError):  # a Python without ctypes keeps them until it exits
            import ctypes  # noqa: PLC0415 - only such a child needs it

            ctypes.pythonapi.Py_IncRef(ctypes.py_object(_inherited))


if hasattr(os, "register_at_fork"):  # Windows has no fork
    os.register_at_fork(after_in_child=_forget_all_kept)

_engines: Kept[str, Engine] = Kept(open_engine)
# Provide an engine for exclusive use, so mappings may be nested and run in several threads.
borrow_engine = _engines.borrow
