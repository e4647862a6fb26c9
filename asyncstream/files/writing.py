"""Write a body to an open file."""

from collections.abc import Awaitable, Callable, Sequence
from io import FileIO

from asyncstream.errors import AsyncstreamError, FileError
from asyncstream.files.failures import explain
from asyncstream.ports import Engine

NextChunk = Callable[[], Awaitable[bytes | memoryview]]


async def write_body(engine: Engine, file: FileIO, next_chunk: NextChunk, target: object) -> None:
    """Write all chunks of a body at the file's current position.

    asyncio writes on a thread, and collects chunks until they are worth the switch to it.

    Args:
        engine: runs the writes.
        file: the open file.
        next_chunk: the body's; see `ports.Body`.
        target: the file's name, for errors.

    Raises:
        AccessDenied, FileError: the file system refused them.
        AsyncstreamError: the body could not be read.
    """
    at_once = engine.computes_at_once
    ended = False
    while not ended:
        chunks: list[bytes | memoryview] = []
        size = 0
        while size < at_once:
            chunk = await next_chunk()
            if not chunk:
                ended = True
                break
            # The next read overwrites a view, so it is copied if several chunks are collected.
            chunks.append(chunk if at_once == 1 else bytes(chunk))
            size += len(chunk)
        await engine.compute(lambda chunks=chunks: _write(file, chunks, target))  # type: ignore[misc]


def _write(file: FileIO, chunks: Sequence[bytes | memoryview], target: object) -> None:
    try:
        for chunk in chunks:
            left = memoryview(chunk)
            while left:
                written = file.write(left)
                if not written:
                    raise FileError(f"writing {target}: the file takes no more bytes")
                left = left[written:]
    except AsyncstreamError:
        raise
    except OSError as error:
        raise explain(error, f"writing {target}") from error
