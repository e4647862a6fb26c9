"""Files of this machine as a destination: written beside their place, synced, and renamed."""

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from io import FileIO
from pathlib import Path
from typing import Any, TypeVar

from asyncstream.checksum import CRC64NVME, Checksum, Digests
from asyncstream.errors import (
    AsyncstreamError,
    ChecksumMismatch,
    DestinationExists,
    FileError,
    SourceNotFound,
    UploadGone,
)
from asyncstream.files import temporary
from asyncstream.files.failures import check_regular, explain
from asyncstream.files.writing import write_body
from asyncstream.locations import LocalFile, LocalFolder
from asyncstream.objects import CompletedPart, MultipartUpload, OpenUpload, Origin, Stored, Written
from asyncstream.ports import Body, Destination, Engine
from asyncstream.units import MiB

T = TypeVar("T")
# In text mode, Windows changes line ends.
_FLAGS = os.O_WRONLY | getattr(os, "O_BINARY", 0)
_READ_SIZE = 1 * MiB


class FileDestination(Destination[LocalFile, LocalFolder]):
    """Writes files. See `ports.Destination`.

    A part that it confirms is on the disk. It does not read the bytes again, so results have no
    `write_verified`.

    Args:
        engine: runs the calls that may wait for a disk or for a network file system.
        create_only: whether to leave existing files unchanged.
    """

    def __init__(self, engine: Engine, *, create_only: bool) -> None:
        self._engine = engine
        self._create_only = create_only

    @property
    def slot_bytes(self) -> int:
        """Bytes of memory that one part in flight costs."""
        return 2 * self._engine.computes_at_once

    async def find(self, target: LocalFile) -> Stored | None:
        """Return the size of a file; None if it does not exist.

        Raises:
            InputError: a folder, a device or a pipe is there.
        """
        facts = await self._run(target, lambda: _stat_target(target))
        return None if facts is None else Stored(facts.st_size, "", None)

    async def compute_checksum(self, target: LocalFile, kind: str) -> Checksum:
        """Read a file and return its checksum."""

        def compute() -> Checksum:
            digests = Digests([kind])
            buffer = memoryview(bytearray(_READ_SIZE))
            with FileIO(target.path) as file:
                while size := file.readinto(buffer):
                    digests.update(buffer[:size])
            return digests.checksums()[kind]

        return await self._run(target, compute)

    async def put(
        self,
        target: LocalFile,
        body: Body,
        attributes: Mapping[str, Any],
        checksum: Checksum | None,
        origin: Origin | None = None,
    ) -> Written:
        """Write a file as a whole, if its bytes match the checksum. It keeps no attributes and no origin.

        Raises:
            ChecksumMismatch: its bytes have another checksum. The file was not written.
            DestinationExists, AccessDenied, FileError: it cannot be written.
        """
        upload = temporary.new_upload(target)
        path = temporary.bytes_path(upload)
        try:
            with ExitStack() as closing:
                file = await self._run(target, lambda: closing.enter_context(_create(path, target)))
                await write_body(self._engine, file, body.next_chunk, target)
                _check_digest(body, checksum, target)
                await self._run(target, lambda: os.fsync(file.fileno()))
            await self._run(target, lambda: self._publish(path, target))
        except BaseException:
            with suppress(OSError):  # report the first error, not one of the clean-up
                path.unlink()
            raise
        return Written("", None)

    async def create_upload(
        self,
        target: LocalFile,
        attributes: Mapping[str, Any],
        origin: Origin | None = None,
        kind: str = CRC64NVME,
    ) -> MultipartUpload:
        """Create the temporary file that parts are written to, in any order."""
        upload = temporary.new_upload(target)

        def create() -> None:
            for path in (temporary.bytes_path(upload), temporary.parts_path(upload)):
                _create(path, target).close()

        await self._run(target, create)
        return upload

    async def upload_part(self, upload: MultipartUpload, number: int, start: int, body: Body) -> Written:
        """Write one part at its position, sync it to the disk, and add it to the list of parts.

        Raises:
            UploadGone: the temporary file was removed.
            AccessDenied, FileError: it cannot be written.
        """
        path = temporary.bytes_path(upload)
        with ExitStack() as closing:
            file = await self._run_on_upload(upload, lambda: closing.enter_context(FileIO(_open(path), "w")))
            file.seek(start)
            await write_body(self._engine, file, body.next_chunk, upload.target)
            part = CompletedPart(number, "", body.length, body.digests.checksums())
            await self._run_on_upload(upload, lambda: _append_part(file, temporary.parts_path(upload), part))
        return Written("", None)

    async def complete_upload(
        self, upload: MultipartUpload, parts: Sequence[CompletedPart], checksum: Checksum | None
    ) -> Written:
        """Rename the temporary file to its place.

        Raises:
            UploadGone: the temporary file was removed.
            DestinationExists, AccessDenied, FileError: it cannot be renamed.
        """
        path, target = temporary.bytes_path(upload), upload.target
        assert isinstance(target, LocalFile)  # noqa: S101 - the router sends no other
        wanted = sum(part.length for part in parts)

        def complete() -> None:
            with FileIO(_open(path), "w") as file:
                found = os.fstat(file.fileno()).st_size
                if found != wanted:
                    raise FileError(f"{path} has {found} bytes and should have {wanted}: copy the file again")
                os.fsync(file.fileno())
            # The list goes first: a process that is killed in between leaves a file that `clean` finds.
            temporary.parts_path(upload).unlink(missing_ok=True)
            self._publish(path, target)

        await self._run_on_upload(upload, complete)
        return Written("", None)

    async def abort_upload(self, upload: MultipartUpload) -> None:
        """Remove the temporary file and the list of its parts."""

        def remove() -> None:
            for path in (temporary.parts_path(upload), temporary.bytes_path(upload)):
                path.unlink(missing_ok=True)

        with suppress(UploadGone):  # the upload's id is not one of ours, so it has no files
            await self._run(upload.target, remove)

    async def list_parts(
        self, upload: MultipartUpload, after: int | None
    ) -> tuple[list[CompletedPart], int | None]:
        """Return all parts that are on the disk, by number, and None: there are no more pages.

        Raises:
            UploadGone: the file was completed, or its upload was aborted.
        """

        def read() -> list[CompletedPart]:
            temporary.bytes_path(upload).stat()
            return list(temporary.read_parts(temporary.parts_path(upload)))

        return await self._run_on_upload(upload, read), None

    async def list_uploads(
        self, prefix: LocalFolder, after: tuple[str, str] | None
    ) -> tuple[list[OpenUpload], tuple[str, str] | None]:
        """Return the uploads in a folder and its subfolders, and None: there are no more pages."""
        with _explained(f"listing {prefix}"):
            return await self._engine.compute(lambda: list(temporary.uploads_under(prefix))), None

    def _publish(self, path: Path, target: LocalFile) -> None:
        """Give a complete file its name, and sync the folder."""
        try:
            if self._create_only and _link(path, target):
                path.unlink()
            else:
                path.replace(target.path)
        except FileExistsError as error:
            message = f'{target} exists and if_exists="fail" is set: the file was not changed'
            raise DestinationExists(message) from error
        _sync_folder(path.parent)

    async def _run(self, place: object, work: Callable[[], T]) -> T:
        """Run a function that uses the file system, and convert its errors.

        Raises:
            SourceNotFound, AccessDenied, InputError, FileError: the file system refused.
        """
        with _explained(f"writing {place}"):
            return await self._engine.compute(work)

    async def _run_on_upload(self, upload: MultipartUpload, work: Callable[[], T]) -> T:
        try:
            return await self._run(upload.target, work)
        except SourceNotFound as error:
            raise UploadGone(f"the temporary file of {upload.target} was removed") from error


@contextmanager
def _explained(what: str) -> Iterator[None]:
    try:
        yield
    except AsyncstreamError:
        raise
    except OSError as error:
        raise explain(error, what) from error


def _stat_target(target: LocalFile) -> os.stat_result | None:
    """Return the facts of a file that may be replaced; None if nothing is there.

    Raises:
        InputError: a rename would put a file in the place of a device or a pipe, such as /dev/null.
    """
    try:
        facts = os.stat(target.path)  # noqa: PTH116 - like the source
    except FileNotFoundError:
        return None
    check_regular(facts, target, "write to standard output, `-`, and send it there")
    return facts


def _link(path: Path, target: LocalFile) -> bool:
    """Link a complete file to its final name, and return whether the file system has hard links.

    FAT, SMB and others have none. There, an empty file takes the name, for a rename to replace.

    Raises:
        FileExistsError: the name is taken.
    """
    try:
        os.link(path, target.path)
    except FileExistsError:
        raise
    except OSError:
        os.close(os.open(target.path, _FLAGS | os.O_CREAT | os.O_EXCL, 0o666))
        return False
    return True


def _create(path: Path, target: LocalFile) -> FileIO:
    _stat_target(target)
    path.parent.mkdir(parents=True, exist_ok=True)
    return FileIO(os.open(path, _FLAGS | os.O_CREAT | os.O_EXCL, 0o666), "w")


def _open(path: Path) -> int:
    return os.open(path, _FLAGS | getattr(os, "O_NOFOLLOW", 0))


def _append_part(file: FileIO, parts: Path, part: CompletedPart) -> None:
    """Sync a part to the disk, then add it to the list: every part in the list must be on the disk."""
    os.fsync(file.fileno())
    with FileIO(os.open(parts, _FLAGS | os.O_APPEND), "w") as listed:
        # One write, so that lines of parts that end at the same time do not mix.
        line = temporary.part_line(part)
        if listed.write(line) != len(line):
            raise FileError(f"writing {parts}: the file takes no more bytes")
        os.fsync(listed.fileno())


def _sync_folder(folder: Path) -> None:
    """Sync a rename to the disk. Windows cannot open folders, and need not sync them."""
    if not hasattr(os, "O_DIRECTORY"):
        return
    try:
        opened = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    except PermissionError:  # the folder is writable, but not readable; the file has its name already
        return
    try:
        os.fsync(opened)
    finally:
        os.close(opened)


def _check_digest(body: Body, declared: Checksum | None, target: LocalFile) -> None:
    found = None if declared is None else body.digests.checksums().get(declared.kind)
    if found is not None and found != declared:
        raise ChecksumMismatch(f"the bytes for {target} have the {found.kind} {found.value}, not as declared")
