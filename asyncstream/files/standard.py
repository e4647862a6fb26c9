"""Standard input as a source, standard output as a destination: read or written once, in order."""

import os
import select
import stat
import sys
from collections.abc import Callable, Mapping, Sequence
from io import FileIO
from typing import Any

from asyncstream.checksum import CRC64NVME, Checksum
from asyncstream.errors import AsyncstreamError, FileError, NothingYet
from asyncstream.files.failures import explain
from asyncstream.files.writing import write_body
from asyncstream.locations import LocalFolder, StandardStream
from asyncstream.objects import ByteRange, CompletedPart, MultipartUpload, Origin, Written
from asyncstream.ports import Body, Destination, Engine, Opened, Source

_INPUT, _OUTPUT = 0, 1
# Seconds to wait for bytes, or for room, before checking whether to stop.
_POLL_SECONDS = 0.2


class StandardInput(Source[StandardStream, LocalFolder]):
    """Reads standard input, once. See `ports.Source`."""

    def __init__(self, engine: Engine, chunk_size: int) -> None:
        self._engine = engine
        self._buffer_bytes = max(chunk_size, engine.computes_at_once)
        self._was_read = False

    @property
    def slot_bytes(self) -> int:
        """Bytes of memory that one part in flight costs."""
        return self._buffer_bytes

    async def open(
        self,
        source: StandardStream,
        range_: ByteRange | None,
        etag: str | None,
        if_none_match: str | None = None,
    ) -> Opened:
        """Return standard input, whose size is unknown.

        Raises:
            FileError: it was read before, so its bytes are gone; or it is closed.
        """
        _check_open(sys.__stdin__, "standard input")
        if self._was_read:
            raise FileError("standard input can be read only once: give its bytes again")
        self._was_read = True
        stream = _InputStream(self._engine, self._buffer_bytes)
        return Opened(None, "", ByteRange(0, 0), {}, stream, in_ranges=False)


class _InputStream:
    """See `ports.ByteStream`."""

    def __init__(self, engine: Engine, buffer_bytes: int) -> None:
        self._engine = engine
        self._buffer = memoryview(bytearray(buffer_bytes))
        self._file = FileIO(_INPUT, closefd=False)
        self._ended = False

    async def read(self) -> memoryview:
        return await self._engine.compute(self._read)

    def _read(self) -> memoryview:
        """Read until the buffer is full or nothing more is ready: each switch to a thread has a cost.

        Raises:
            NothingYet: there was nothing to read for some time. The caller then checks whether to stop.
        """
        filled = 0
        try:
            while filled < len(self._buffer) and not self._ended:
                size = None
                if _is_ready(0 if filled else _POLL_SECONDS):
                    # None: another program made the pipe non-blocking, and it is empty after all.
                    size = self._file.readinto(self._buffer[filled:])
                if size is None and not filled:
                    raise NothingYet("standard input is silent")
                if size is None:
                    break
                # A terminal reports its end only once.
                self._ended = not size
                filled += size
        except NothingYet:
            raise
        except OSError as error:
            raise explain(error, "reading standard input") from error
        return self._buffer[:filled]

    async def close(self) -> None:
        """Do nothing: the stream is the process's."""


def _is_ready(seconds: float) -> bool:
    """Wait for bytes, or the end. On Windows `select` takes sockets only, so there the read itself waits."""
    return os.name == "nt" or bool(select.select([_INPUT], [], [], seconds)[0])


def _check_open(stream: object | None, name: str) -> None:
    """Check that the process was started with a stream. If not, another file or a socket may have its number.

    Raises:
        FileError: it was started without it.
    """
    if stream is None:
        raise FileError(f"{name} is closed: start the process with it open, or name a file instead of -")


class StandardOutput(Destination[StandardStream, LocalFolder]):
    """Writes standard output, in order. See `ports.Destination`.

    What was written cannot be taken back, so a part that fails midway cannot be repeated.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._written = 0
        self._failure = ""

    @property
    def slot_bytes(self) -> int:
        """Bytes of memory that one part in flight costs."""
        return 2 * self._engine.computes_at_once

    async def put(
        self,
        target: StandardStream,
        body: Body,
        attributes: Mapping[str, Any],
        checksum: Checksum | None,
        origin: Origin | None = None,
    ) -> Written:
        """Write all bytes.

        Raises:
            FileError: the reader has closed the stream, or an earlier try has written a part of the bytes.
        """
        await self._write(0, body)
        return Written("", None)

    async def create_upload(
        self,
        target: StandardStream,
        attributes: Mapping[str, Any],
        origin: Origin | None = None,
        kind: str = CRC64NVME,
    ) -> MultipartUpload:
        """Return an upload whose parts come in order."""
        return MultipartUpload(target, "standard output")

    async def upload_part(self, upload: MultipartUpload, number: int, start: int, body: Body) -> Written:
        """Write the next part; see `put`."""
        await self._write(start, body)
        return Written("", None)

    async def complete_upload(
        self, upload: MultipartUpload, parts: Sequence[CompletedPart], checksum: Checksum | None
    ) -> Written:
        """Do nothing: all parts are written."""
        return Written("", None)

    async def abort_upload(self, upload: MultipartUpload) -> None:
        """Do nothing: what was written cannot be taken back."""

    async def list_parts(
        self, upload: MultipartUpload, after: int | None
    ) -> tuple[list[CompletedPart], int | None]:
        """Return nothing: a pipe keeps no parts."""
        return [], None

    async def _write(self, start: int, body: Body) -> None:
        _check_open(sys.__stdout__, "standard output")
        if start != self._written:
            raise FileError(
                f"standard output has {self._written} bytes, and the next one would be {start}: an earlier "
                f"try has written what cannot be taken back. It ended with: {self._failure}"
            )

        async def next_chunk() -> bytes | memoryview:
            chunk = await body.next_chunk()
            self._written += len(chunk)
            return chunk

        with _OutputFile(body.check) as file:
            try:
                await write_body(self._engine, file, next_chunk, "standard output")
            except AsyncstreamError as error:
                self._failure = str(error)
                raise


class _OutputFile(FileIO):
    """Standard output. A transfer can be stopped while the reader takes nothing.

    Args:
        check: raises an error to stop the write; called repeatedly while there is no room.
    """

    def __init__(self, check: Callable[[], None]) -> None:
        super().__init__(_OUTPUT, "w", closefd=False)
        self._check = check
        # If a pipe has room for some bytes only, a longer write waits until it has taken all.
        waits = os.name != "nt" and not stat.S_ISREG(os.fstat(_OUTPUT).st_mode)
        self._longest_write = select.PIPE_BUF if waits else None

    def write(self, data: Any, /) -> int:
        if self._longest_write is None:
            return super().write(data)
        while True:
            if not select.select([], [_OUTPUT], [], _POLL_SECONDS)[1]:
                self._check()
                continue
            # None: another program made the pipe non-blocking, and it is full after all.
            written: int | None = super().write(data[: self._longest_write])
            if written is not None:
                return written
