"""Functions and items for the tests of mappings, which count calls and wait at gates."""

import asyncio
import itertools
import threading
from collections.abc import Iterator
from typing import Any


class Failed(Exception):
    """The error that calls raise."""


class Gate:
    """Blocks calls, each in its engine's way, until it opens."""

    def __init__(self, engine: str) -> None:
        self._event: Any = asyncio.Event() if engine == "asyncio" else threading.Event()
        self.open = self._event.set

    async def wait(self) -> None:
        if isinstance(self._event, asyncio.Event):
            await self._event.wait()
        else:
            assert self._event.wait(60)


class Items:
    """Endless items that count how many were pulled."""

    def __init__(self) -> None:
        self.pulled = 0

    def __iter__(self) -> Iterator[int]:
        for number in itertools.count():
            self.pulled += 1
            yield number


class Calls:
    """A function that counts its calls. Each call waits until `full` calls run, then at a gate."""

    def __init__(self, engine: str, full: int) -> None:
        self.returns_at_once: int | None = None
        self.gate = Gate(engine)
        self.started = self.ended = self.peak = 0
        self._full = full
        self._full_house = Gate(engine)
        self._lock = threading.Lock()

    async def __call__(self, item: int) -> int:
        with self._lock:
            self.started += 1
            self.peak = max(self.peak, self.started - self.ended)
        if self.started == self._full:
            self._full_house.open()
        try:
            await self._full_house.wait()
            if item != self.returns_at_once:
                await self.gate.wait()
        finally:
            with self._lock:
                self.ended += 1
        return item
