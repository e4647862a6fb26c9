"""An in-memory store that holds uploads until their transfer stops, so that none ends early by chance."""

from collections.abc import Awaitable, Callable
from typing import Any

from asyncstream.pipeline.body import ChunkBody
from asyncstream.ports import Body

from .memory_store import MemoryStore

# A guard: longer than any machine takes to stop an upload.
MAX_WAITS = 60_000


class HeldBody:
    """Returns one chunk, and the next when its transfer must stop."""

    def __init__(self, body: ChunkBody, pause: Callable[[], Awaitable[None]]) -> None:
        self.length = body.length
        self.error = body.error
        self.digests = body.digests
        self.check = body.check
        self._body = body
        self._pause = pause
        self._started = False

    async def close(self) -> None:
        await self._body.close()

    async def next_chunk(self) -> bytes | memoryview:
        waits = 0
        while self._started and not self._body._stop and waits < MAX_WAITS:
            await self._pause()
            waits += 1
        self._started = True
        return await self._body.next_chunk()


class HeldStore(MemoryStore):
    """Holds uploads to one key.

    Args:
        held: the key; None holds nothing.
        options: see `MemoryStore`; held uploads wait with its pause, about a millisecond each time.
    """

    def __init__(self, *arguments: Any, held: str | None, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._held = held

    async def _arrived(self, body: Body, operation: str, key: str) -> tuple[bytes, bool]:
        if key == self._held and isinstance(body, ChunkBody):
            return await super()._arrived(HeldBody(body, self._pause), operation, key)
        return await super()._arrived(body, operation, key)
