"""Write a body to an open file."""

from collections.abc import Sequence
from io import FileIO

from asyncstream.errors import AsyncstreamError, FileError
from asyncstream.files.failures import explain
from asyncstream.ports import Body, Engine


async def write_body(engine: Engine, file: FileIO, body: Body, target: object) -> None:
    """Write all bytes of a body where the file stands. `target` is named in errors.

    asyncio writes on a thread. Chunks are collected until they are worth the hop.

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
            chunk = await body.next_chunk()
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
