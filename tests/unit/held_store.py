"""A store in memory that holds uploads until they are told to stop: so none is done before that by chance."""

from collections.abc import Awaitable, Callable
from typing import Any

from asyncstream.pipeline.body import ChunkBody
from asyncstream.ports import Body

from .memory_store import MemoryStore

# A guard: longer than any machine takes to tell an upload to stop.
MOST_WAITS = 60_000


class HeldBody:
    """Hands on one chunk, and the next when its transfer is to stop."""

    def __init__(self, body: ChunkBody, pause: Callable[[], Awaitable[None]]) -> None:
        self.length = body.length
        self._body = body
        self._pause = pause
        self._begun = False

    async def next_chunk(self) -> bytes | memoryview:
        waits = 0
        while self._begun and not self._body._stop and waits < MOST_WAITS:
            await self._pause()
            waits += 1
        self._begun = True
        return await self._body.next_chunk()


class HeldStore(MemoryStore):
    """Holds what is uploaded to a key.

    Args:
        held: the key; None: nothing is held.
        options: see `MemoryStore`; its pause is what is waited with, a millisecond or so.
    """

    def __init__(self, *arguments: Any, held: str | None, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._held = held

    async def _arrived(self, body: Body, operation: str, key: str) -> tuple[bytes, bool]:
        if key == self._held and isinstance(body, ChunkBody):
            return await super()._arrived(HeldBody(body, self._pause), operation, key)
        return await super()._arrived(body, operation, key)
