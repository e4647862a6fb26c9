"""Create, complete and abort multipart uploads, also if S3's reply is lost.

Without a reply it is unknown what S3 did. So S3 is asked before a request is sent again.
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

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
from asyncstream.locations import S3Object, S3Prefix, TargetFile
from asyncstream.objects import CompletedPart, MultipartUpload, Origin, Stored, Written
from asyncstream.pipeline import verification
from asyncstream.pipeline.context import TransferContext
from asyncstream.pipeline.source import SourceReader
from asyncstream.pipeline.tasks import Complete, FileDone, FileFacts, Task
from asyncstream.retry import Retrying
from asyncstream.units import MB

# A server completes an upload within a second, plus the time to copy its parts, if it does, at this rate or
# faster.
_SECONDS_TO_COMPLETE, _COPIED_PER_SECOND = 1.0, 100 * MB
# The most seconds between two checks of an upload that is being completed.
_LONGEST_PAUSE = 5.0


class Completion(NamedTuple):
    """What a CompleteMultipartUpload makes an object of.

    Attributes:
        upload: the upload.
        parts: all its parts, in the order of their numbers.
        declared: the checksum of all bytes, for S3 to compare; None if S3 does not verify it.
    """

    upload: MultipartUpload
    parts: Sequence[CompletedPart]
    declared: Checksum | None


class Uploads:
    """Creates, completes and aborts multipart uploads. There is one per transfer, without mutable state."""

    def __init__(self, context: TransferContext, reader: SourceReader) -> None:
        self._ends = context.ends
        self._engine = context.engine
        self._config = context.config
        self._deadline = context.deadline
        self._policy = context.ends.retrying.policy
        self._late = Retrying(self._policy, NO_DEADLINE, context.ends.retrying.sleep)
        self._reader = reader

    async def create(self, task: Task[Any], attributes: Mapping[str, Any], origin: Origin | None) -> None:
        """Create the upload of a file; if a reply is lost, note that an upload may be left."""
        file = task.file
        target = file.job.destination

        async def create() -> None:
            file.upload = await self._ends.destination_of(target).create_upload(
                target, attributes, origin, file.kind
            )

        async def create_or_note() -> None:
            try:
                # Shielded, because an upload cannot be aborted if its id is never received.
                await self._engine.shielded(create(), SHIELD_SECONDS)
            except (ConnectionFailed, ReplyIncomplete, ServiceBusy):
                file.create_lost = True
                raise
            except TimeoutError as late:
                file.create_lost = True
                raise ConnectionFailed(f"CreateMultipartUpload {target}: {late}") from late

        with file.span.child("create"):
            await self._reader.repeat(task, create_or_note)

    async def find_left(self, file: FileFacts) -> None:
        """Name on `upload_left` the uploads that a Create without a reply may have left.

        At the file's end, because S3 may create the upload after the connection broke. They are not aborted,
        because they may belong to another writer of the same key.
        """
        if file.create_lost:
            file.upload_left = await self._describe_uploads(file)

    async def _describe_uploads(self, file: FileFacts) -> str | None:
        """Return a sentence about other open uploads of the file's key; None without any."""
        target, own = file.job.destination, file.upload and file.upload.upload_id
        assert isinstance(target, S3Object)  # noqa: S101 - a file's folder loses no reply
        lost = f"CreateMultipartUpload {target} failed, or its reply was lost"
        try:
            # Sorted by key: the first page has the uploads of this key, before those of longer keys.
            destination = self._ends.destination_of(target)
            page, _ = await destination.list_uploads(S3Prefix(target.bucket, target.key), None)
        except Exception as error:  # noqa: BLE001 - the file has ended: its result does not depend on this
            return f"{lost}, and an upload may be left, as S3 could not be asked: {error}"
        ids = [each.upload_id for each in page if each.target == target and each.upload_id != own]
        if not ids:
            return None
        return f"{lost}, and it may have left one of these uploads: {', '.join(ids)}"

    async def complete(self, task: Complete) -> FileDone:
        """Complete the file's upload.

        Raises:
            ChecksumMismatch: the parts do not match the source's checksum. The upload was not completed.
        """
        file = task.file
        upload = file.upload
        assert upload is not None  # noqa: S101
        parts = sorted(file.completed, key=lambda part: part.number)
        [whole] = verification.confirmed(file)
        read_verified = verification.compare_read(file, whole)
        declared = verification.declared(upload, whole)
        made = Completion(upload, parts, declared)
        with file.span.child("complete"):
            written = await self._reader.repeat(task, lambda: self._complete_once(task, made))
        file.read_verified = read_verified
        file.write_verified = verification.compare_made(written, declared, file.job.destination)
        await self.find_left(file)
        return FileDone(written.etag)

    async def _complete_once(self, task: Complete, made: Completion) -> Written:
        before = task.file.job.continuation
        if before is not None and before.completing and not task.file.completing:
            # An earlier transfer sent the request before its time was up. S3 may be working on it.
            written = await self._wait_for_object(task, made, None)
            if written is not None:
                return written
        task.file.completing = True
        try:
            return await self._ends.destination_of(made.upload.target).complete_upload(*made)
        except (UploadGone, DestinationExists) as error:
            # An earlier request, maybe of a transfer that was then killed, may have completed the upload.
            if not task.retries and before is None:
                raise
            return await self.find_written(made.upload.target, made.declared, error, made.parts)
        except SlowDown:
            raise
        except (ConnectionFailed, ReplyIncomplete, ServiceBusy) as lost:
            written = await self._wait_for_object(task, made, lost)
            if written is None:
                raise
            return written

    async def _wait_for_object(
        self, task: Complete, made: Completion, lost: AsyncstreamError | None
    ) -> Written | None:
        """Wait for S3 to complete an upload whose reply was lost, and return what it has written.

        Returns None if S3 still has the upload after the longest time that completing it may take. The
        request can then be sent again.

        Raises:
            UploadGone: the upload is gone, and the object is a different one.
        """
        size = sum(part.length for part in made.parts)
        ends = self._deadline.now() + seconds_to_complete(lost, size, self._config.complete_timeout)
        pause = self._policy.base_delay
        while True:
            written = await self._look_for_object(made)
            left = min(ends - self._deadline.now(), self._deadline.left())
            if written is not None or left <= 0 or task.file.stop:
                return written
            await self._engine.sleep(min(pause, left))
            pause = min(2 * pause, _LONGEST_PAUSE)

    async def _look_for_object(self, made: Completion) -> Written | None:
        """Return the object that the upload became; None if S3 still has the upload, or does not say.

        Raises:
            UploadGone: the upload is gone, and the object is a different one.
        """
        upload, parts, declared = made
        destination = self._ends.destination_of(upload.target)
        try:
            await destination.list_parts(upload, None)
        except UploadGone as gone:
            return await self.find_written(upload.target, declared, gone, parts)
        except AsyncstreamError as error:
            if error.retryable:
                return None
            # The role may not list parts, or the server does not support it. Look for the object instead.
            try:
                return _if_written(await destination.find(upload.target), declared, parts)
            except AsyncstreamError:
                return None  # unknown: the reply to the next Complete decides
        return None

    async def find_written(
        self,
        target: TargetFile,
        declared: Checksum | None,
        error: AsyncstreamError,
        parts: Sequence[CompletedPart] = (),
    ) -> Written:
        """Return the lost reply if the stored object is the one that was written; else raise the error."""
        try:
            stored = await self._ends.destination_of(target).find(target)
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
        """Abort the file's upload, if it has one, even after the deadline: an open upload costs money."""
        upload = file.upload
        try:
            if upload is not None:
                with file.span.child("abort"):
                    await self._late.run(
                        lambda: self._ends.destination_of(upload.target).abort_upload(upload),
                        left=lambda: min(SHIELD_SECONDS, self._deadline.left_for_uploads()),
                    )
        finally:
            await self.find_left(file)
        file.upload = None


def seconds_to_complete(lost: AsyncstreamError | None, size: int, most: float) -> float:
    """Return the seconds that S3 may still work on a Complete whose reply was lost.

    For a long Complete, S3 starts the reply at once and sends white space meanwhile. So a reply that was cut
    shows that S3 is working.

    Args:
        lost: the error in place of the reply; None if an earlier transfer did not wait for it.
        size: bytes of all parts.
        most: the most seconds to wait for a reply.
    """
    if isinstance(lost, TruncatedBody):
        return most
    if isinstance(lost, ReplyTimeout | ReplyIncomplete | ServiceBusy):
        return 0.0  # the wait is over, or S3 has answered: one check shows whether the object exists
    return min(most, _SECONDS_TO_COMPLETE + size / _COPIED_PER_SECOND)


def _if_written(
    stored: Stored | None, declared: Checksum | None, parts: Sequence[CompletedPart]
) -> Written | None:
    """Return the reply of the request that wrote an object, if it matches the checksum or the parts."""
    if stored is None:
        return None
    same = declared is not None and stored.checksum == declared
    if not same and stored.checksum is None and parts:
        same = stored.etag == multipart_etag([part.etag for part in parts])
    return Written(stored.etag, stored.checksum) if same else None
