"""Multipart uploads created, completed and aborted, also where the reply is lost; called by `parts.py`.

A reply that does not come does not tell what S3 did. So S3 is asked before anything is sent again.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from asyncstream.checksum import Checksum, multipart_etag
from asyncstream.deadline import NO_DEADLINE, SHIELD_SECONDS
from asyncstream.errors import (
    AsyncstreamError,
    ConnectionFailed,
    DestinationExists,
    ReplyIncomplete,
    ReplyTimeout,
    ServiceBusy,
    SlowDown,
    TruncatedBody,
    UploadGone,
)
from asyncstream.locations import S3Object, S3Prefix
from asyncstream.objects import CompletedPart, MultipartUpload, Origin, Stored, Written
from asyncstream.pipeline import verification
from asyncstream.pipeline.context import TransferContext
from asyncstream.pipeline.source import SourceReader
from asyncstream.pipeline.tasks import Complete, FileFacts, Task
from asyncstream.retry import Retrying
from asyncstream.units import MB

# A server completes an upload within a second, and copies its parts at least so fast, if it copies them.
_SECONDS_TO_COMPLETE, _COPIED_PER_SECOND = 1.0, 100 * MB
# Seconds between two looks at an upload that is being completed.
_LONGEST_PAUSE = 5.0


Parts = Sequence[CompletedPart]


class Uploads:
    """Begins and ends multipart uploads. One for a transfer; holds nothing that changes."""

    def __init__(self, context: TransferContext, reader: SourceReader) -> None:
        self._store = context.store
        self._engine = context.engine
        self._config = context.config
        self._deadline = context.deadline
        self._policy = context.retrying.policy
        self._late = Retrying(self._policy, NO_DEADLINE, context.retrying.sleep)
        self._reader = reader

    async def create(self, task: Task[Any], attributes: Mapping[str, Any], origin: Origin | None) -> None:
        """Create the upload of a file; if a reply is lost, `upload_left` of the file names what S3 then has.

        It is not aborted: the list of uploads does not tell it from that of another writer of the same key.
        """
        file = task.file
        target = file.job.destination

        async def create() -> None:
            file.upload = await self._store.create_upload(target, attributes, origin)

        async def create_or_tell() -> None:
            try:
                # Shielded: an upload whose id is never learned can never be aborted.
                await self._engine.shielded(create(), SHIELD_SECONDS)
            except (ConnectionFailed, ReplyIncomplete, ServiceBusy):
                file.upload_left = await self._describe_uploads(target)
                raise

        with file.span.child("create"):
            await self._reader.repeat(task, create_or_tell)

    async def _describe_uploads(self, target: S3Object) -> str | None:
        """Return a sentence on the open uploads of a key, one of which may be ours; None without one."""
        lost = f"CreateMultipartUpload {target} failed, or its reply was lost"
        try:
            # Sorted by key: the first page has those of the very key, before longer ones.
            page, _ = await self._store.list_uploads(S3Prefix(target.bucket, target.key), None)
        except AsyncstreamError as error:
            return f"{lost}, and an upload may be left, as S3 could not be asked: {error}"
        ids = [upload.upload_id for upload in page if upload.target == target]
        if not ids:
            return None
        return f"{lost}, and one of these uploads may be left by it: {', '.join(ids)}"

    async def complete(self, task: Complete) -> str:
        """Make the file's parts an object, and return its ETag.

        Raises:
            ChecksumMismatch: the parts together are not what the source's checksum says; nothing was made
                of them.
        """
        file = task.file
        upload = file.upload
        assert upload is not None  # noqa: S101
        parts = sorted(file.completed, key=lambda part: part.number)
        [whole] = verification.confirmed(file)
        read_verified = verification.compare_read(file, whole)
        declared = verification.declared(upload, whole)
        with file.span.child("complete"):
            written = await self._reader.repeat(
                task, lambda: self._complete_once(task, upload, parts, declared)
            )
        file.read_verified = read_verified
        file.write_verified = verification.compare_made(written, declared, file.job.destination)
        return written.etag

    async def _complete_once(
        self, task: Complete, upload: MultipartUpload, parts: Parts, declared: Checksum | None
    ) -> Written:
        before = task.file.job.continuation
        if before is not None and before.completing and not task.file.completing:
            # An earlier transfer sent the request, and its time was up: S3 may be at work on it.
            written = await self._wait_for_object(task, upload, parts, declared, None)
            if written is not None:
                return written
        task.file.completing = True
        try:
            return await self._store.complete_upload(upload, parts, declared)
        except (UploadGone, DestinationExists) as error:
            # An earlier request, maybe of a transfer that was killed then, may have made the object.
            if not task.retries and before is None:
                raise
            return await self.find_written(upload.target, declared, error, parts)
        except SlowDown:
            raise
        except (ConnectionFailed, ReplyIncomplete, ServiceBusy) as lost:
            written = await self._wait_for_object(task, upload, parts, declared, lost)
            if written is None:
                raise
            return written

    async def _wait_for_object(
        self,
        task: Complete,
        upload: MultipartUpload,
        parts: Parts,
        declared: Checksum | None,
        lost: AsyncstreamError | None,
    ) -> Written | None:
        """Return what S3 made of the parts after a lost reply, looked for as long as S3 may be at work.

        None if S3 still has the upload then, so that the request can be sent once more.

        Raises:
            UploadGone: it is gone, and the object is another.
        """
        size = sum(part.length for part in parts)
        ends = self._deadline.now() + seconds_to_complete(lost, size, self._config.complete_timeout)
        pause = self._policy.base_delay
        while True:
            written = await self._look(upload, parts, declared)
            left = min(ends - self._deadline.now(), self._deadline.left())
            if written is not None or left <= 0 or task.file.stop:
                return written
            await self._engine.sleep(min(pause, left))
            pause = min(2 * pause, _LONGEST_PAUSE)

    async def _look(self, upload: MultipartUpload, parts: Parts, declared: Checksum | None) -> Written | None:
        """Return what the upload became; None as long as S3 has it, or does not say.

        Raises:
            UploadGone: it is gone, and the object is another.
        """
        try:
            await self._store.list_parts(upload, None)
        except UploadGone as gone:
            return await self.find_written(upload.target, declared, gone, parts)
        except AsyncstreamError as error:
            if error.retryable:
                return None
            # The role may not list parts, or the server does not know how: the object tells, if it is there.
            try:
                return _if_written(await self._store.find(upload.target), declared, parts)
            except AsyncstreamError:
                return None  # neither is told: the next Complete will
        return None

    async def find_written(
        self,
        target: S3Object,
        declared: Checksum | None,
        error: AsyncstreamError,
        parts: Parts = (),
    ) -> Written:
        """Return the reply that was lost, if what is stored is what was written; else raise the error."""
        try:
            stored = await self._store.find(target)
        except AsyncstreamError as unknown:
            if unknown.retryable:
                raise
            error.add_note(f"whether {target} was written before the reply was lost is unknown: {unknown}")
            raise error from unknown
        written = _if_written(stored, declared, parts)
        if written is None:
            raise error
        return written

    async def abort(self, file: FileFacts) -> None:
        """Abort the file's upload, if it has one, after the deadline, too: one that stays costs money."""
        upload = file.upload
        if upload is None:
            return
        with file.span.child("abort"):
            await self._late.run(
                lambda: self._store.abort_upload(upload),
                left=lambda: min(SHIELD_SECONDS, self._deadline.ending()),
            )
        file.upload = None


def seconds_to_complete(lost: AsyncstreamError | None, size: int, most: float) -> float:
    """Return how long S3 may be at work on a Complete of so many bytes that no reply came to.

    S3 begins the reply of a long one at once and sends white space meanwhile: one that was cut says that S3
    is at work.

    Args:
        lost: what came in place of the reply; None: an earlier transfer did not wait for it.
        size: bytes of all parts.
        most: how long the reply is waited for.
    """
    if isinstance(lost, TruncatedBody):
        return most
    if isinstance(lost, ReplyTimeout | ReplyIncomplete | ServiceBusy):
        return 0.0  # waited for as long already, or answered: one look shows whether the object was made
    return min(most, _SECONDS_TO_COMPLETE + size / _COPIED_PER_SECOND)


def _if_written(stored: Stored | None, declared: Checksum | None, parts: Parts) -> Written | None:
    """Return the reply of what has written the object, if it is what was declared, or made of those parts."""
    if stored is None:
        return None
    same = declared is not None and stored.checksum == declared
    if not same and stored.checksum is None and parts:
        same = stored.etag == multipart_etag([part.etag for part in parts])
    return Written(stored.etag, stored.checksum) if same else None
