"""Lost replies of S3: the client looks up the result, and reports if it cannot."""

from collections.abc import Sequence
from dataclasses import replace as replaced
from hashlib import md5

import pytest
from msgspec.structs import replace

from asyncstream.checksum import CRC64NVME, Checksum, multipart_etag
from asyncstream.error_texts import full_message
from asyncstream.errors import AccessDenied, ConnectionFailed, DestinationExists, TruncatedBody, UploadGone
from asyncstream.locations import S3Object, S3Prefix
from asyncstream.objects import CompletedPart, MultipartUpload, OpenUpload, Stored, Written
from asyncstream.ports import Body, Engine
from tests.places import object_of

from .memory_store import Failure, MemoryStore, etag_of, pause_under
from .transfers import (
    GONE,
    SIZE,
    WHOLE,
    Setup,
    assert_copied,
    assert_nothing_is_left,
    jobs_of,
    stored,
    target,
)


def md5_etag(content: bytes) -> str:
    return f'"{md5(content, usedforsecurity=False).hexdigest()}"'


# The parts become the object, and the reply is lost.
LOST = Failure("complete_upload", ConnectionFailed("reset"), last=1, lost=True)


def test_a_lost_complete_is_looked_up_by_its_checksum(engine: Engine) -> None:
    store = MemoryStore(stored([SIZE]), pause=pause_under(engine.name), failures=[LOST])

    [result] = Setup().run(jobs_of([SIZE]), store, engine)

    assert_copied(result, store)
    assert result.etag == etag_of(WHOLE)
    assert (result.restarted, result.write_verified) == (None, CRC64NVME)
    assert (store.calls["complete_upload", None], store.calls["find", None]) == (1, 1)
    assert (store.calls["create_upload", None], store.calls["abort_upload", None]) == (1, 0)


def test_an_interrupted_lookup_is_repeated(engine: Engine) -> None:
    failures = [LOST, Failure("find", ConnectionFailed("reset"), last=1)]
    store = MemoryStore(stored([SIZE]), pause=pause_under(engine.name), failures=failures)

    [result] = Setup().run(jobs_of([SIZE]), store, engine)

    assert_copied(result, store)
    assert (result.restarted, store.calls["find", None]) == (None, 2)
    assert store.calls["create_upload", None] == 1


def test_an_upload_gone_at_its_first_complete_is_not_ours(engine: Engine) -> None:
    """This holds even if the same bytes are there: another writer may have written them."""
    store = MemoryStore(
        stored([SIZE]) | {target(0): WHOLE},
        pause=pause_under(engine.name),
        failures=[Failure("complete_upload", GONE, last=1)],
    )
    store.replaceable.add(target(0))

    [result] = Setup().run(jobs_of([SIZE]), store, engine)

    assert_copied(result, store)
    assert store.calls["find", None] == 0
    assert result.restarted == str(GONE)
    assert store.calls["create_upload", None] == 2


class Outrun(MemoryStore):
    """Another client writes the same object before the lookup."""

    async def complete_upload(
        self, upload: MultipartUpload, parts: Sequence[CompletedPart], checksum: Checksum | None
    ) -> Written:
        try:
            return await super().complete_upload(upload, parts, checksum)
        except ConnectionFailed:
            self.objects[object_of(upload.target)] = b"another client's"
            self.replaceable.add(object_of(upload.target))
            raise


def test_an_object_with_another_checksum_is_not_ours(engine: Engine) -> None:
    store = Outrun(stored([SIZE]), pause=pause_under(engine.name), failures=[LOST])

    [result] = Setup().run(jobs_of([SIZE]), store, engine)

    assert_copied(result, store)
    assert store.calls["find", None] == 1
    assert result.restarted is not None
    assert store.calls["create_upload", None] == 2


class TellsNoChecksum(MemoryStore):
    """Stores objects without a checksum."""

    async def find(self, target: S3Object) -> Stored | None:
        there = await super().find(target)
        return there and replace(there, checksum=None)


def test_what_is_stored_without_a_checksum_may_be_anything(engine: Engine) -> None:
    store = TellsNoChecksum(stored([SIZE]), pause=pause_under(engine.name), failures=[LOST])
    store.replaceable.add(target(0))

    [result] = Setup().run(jobs_of([SIZE]), store, engine)

    assert_copied(result, store)
    assert (result.restarted is None, store.calls["create_upload", None]) == (False, 2)


def unknown(of: S3Object) -> str:
    return f"whether {of} was written before the reply was lost is unknown: HEAD was denied"


DENIED = Failure("find", AccessDenied("HEAD was denied"))


def test_a_gone_upload_whose_object_cannot_be_seen_starts_over(engine: Engine) -> None:
    lost = replaced(LOST, last=2)
    store = MemoryStore(stored([SIZE]), pause=pause_under(engine.name), failures=[lost, DENIED])
    store.replaceable.add(target(0))

    [result] = Setup().run(jobs_of([SIZE]), store, engine)

    assert result.status == "failed"
    assert isinstance(result.error, UploadGone)
    assert isinstance(result.error.__cause__, AccessDenied)
    assert result.error.__notes__[-1] == unknown(target(0))
    assert store.calls["create_upload", None] == 2
    assert_nothing_is_left(store)


def test_an_object_that_is_there_and_cannot_be_seen_is_named(engine: Engine) -> None:
    exists = DestinationExists("it is there already")
    failures = [
        LOST,
        Failure("list_parts", AccessDenied("ListParts was denied")),
        Failure("complete_upload", exists, first=2),
        DENIED,
    ]
    store = MemoryStore(stored([SIZE]), pause=pause_under(engine.name), failures=failures)

    [result] = Setup().run(jobs_of([SIZE]), store, engine)

    assert (result.status, result.error) == ("failed", exists)
    assert exists.__notes__[-1] == unknown(target(0))
    assert store.calls["create_upload", None] == 1


def test_a_complete_that_s3_is_at_work_on_is_not_sent_again(engine: Engine) -> None:
    """The reply was cut: as long as S3 has the upload, it may be making the object."""
    cut = Failure("complete_upload", TruncatedBody("cut"), last=1, lost=True)
    working = WorksOn(stored([SIZE]), pause=pause_under(engine.name), failures=[cut])

    [result] = Setup(complete_timeout=60).run(jobs_of([SIZE]), working, engine)

    assert_copied(result, working)
    assert (working.calls["complete_upload", None], working.calls["list_parts", None]) == (1, 4)
    assert (result.restarted, working.calls["abort_upload", None]) == (None, 0)


def test_at_the_deadline_a_complete_is_looked_up_before_abort(engine: Engine) -> None:
    slow = Outlasts(stored([SIZE]), pause=pause_under(engine.name), failures=[LOST])

    [result] = Setup(deadline=100, clock=lambda: slow.now).run(jobs_of([SIZE]), slow, engine)

    assert_copied(result, slow)
    assert (slow.calls["complete_upload", None], slow.calls["abort_upload", None]) == (1, 0)


def test_what_a_paused_transfer_completes_is_not_completed_again(engine: Engine) -> None:
    """S3 still makes the object when the next transfer begins."""
    store = StillMakes(stored([SIZE]), pause=pause_under(engine.name), failures=[UNDONE])
    paused = Setup(deadline=100, clock=lambda: store.now, pauses=True)
    [left] = paused.run(jobs_of([SIZE]), store, engine)
    assert left.continuation is not None
    assert left.continuation.completing

    store.now = 0.0
    jobs = [replace(job, continuation=left.continuation) for job in jobs_of([SIZE])]
    [result] = Setup(complete_timeout=60).run(jobs, store, engine)

    assert_copied(result, store)
    assert (store.calls["complete_upload", None], store.calls["abort_upload", None]) == (1, 0)


# S3 will make the object from the parts later.
UNDONE = Failure("complete_upload", ConnectionFailed("reset"), last=1)


class Outlasts(MemoryStore):
    """Completes an upload after the deadline."""

    now = 0.0

    async def complete_upload(
        self, upload: MultipartUpload, parts: Sequence[CompletedPart], checksum: Checksum | None
    ) -> Written:
        self.now = 101.0
        return await super().complete_upload(upload, parts, checksum)


class StillMakes(Outlasts):
    """Makes the object at the fourth listing of the upload's parts."""

    async def list_parts(
        self, upload: MultipartUpload, after: int | None
    ) -> tuple[list[CompletedPart], int | None]:
        if self.calls["list_parts", None] == 4:
            there = self.uploads.pop(upload.upload_id)
            self.completed.add(upload.upload_id)
            self._write(object_of(upload.target), b"".join(there[n] for n in sorted(there)), {})
        return await super().list_parts(upload, after)


class WorksOn(MemoryStore):
    """Says that the upload is gone only at the fourth listing of its parts."""

    async def list_parts(
        self, upload: MultipartUpload, after: int | None
    ) -> tuple[list[CompletedPart], int | None]:
        try:
            return await super().list_parts(upload, after)
        except UploadGone:
            if self.calls["list_parts", None] < 4:
                return [], None
            raise


@pytest.mark.parametrize("denied", [False, True], ids=["listed", "headed"])
def test_an_etag_identifies_the_object_without_a_checksum(engine: Engine, denied: bool) -> None:
    failures = [LOST] + [Failure("list_parts", AccessDenied("ListParts was denied"))] * denied
    store = HasMd5s(stored([SIZE]), pause=pause_under(engine.name), failures=failures, verified=False)

    [result] = Setup().run(jobs_of([SIZE]), store, engine)

    assert (result.status, result.restarted, result.write_verified) == ("copied", None, None)
    assert store.calls["complete_upload", None] == 1


class HasMd5s(MemoryStore):
    """Computes ETags as S3 does."""

    async def upload_part(self, upload: MultipartUpload, number: int, start: int, body: Body) -> Written:
        await super().upload_part(upload, number, start, body)
        return Written(md5_etag(self.uploads[upload.upload_id][number]), None)

    async def complete_upload(
        self, upload: MultipartUpload, parts: Sequence[CompletedPart], checksum: Checksum | None
    ) -> Written:
        self.etag = multipart_etag(part.etag for part in parts)
        stored = self.uploads[upload.upload_id]
        parts = [replace(part, etag=etag_of(stored[part.number])) for part in parts]
        return await super().complete_upload(upload, parts, checksum)

    async def find(self, target: S3Object) -> Stored | None:
        there = await super().find(target)
        return there and replace(there, etag=str(self.etag))


def test_an_upload_whose_create_reply_was_lost_is_named(engine: Engine) -> None:
    lost = Failure("create_upload", ConnectionFailed("reset"), last=1, lost=True)
    store = MemoryStore(stored([SIZE]), pause=pause_under(engine.name), failures=[lost])

    [result] = Setup().run(jobs_of([SIZE]), store, engine)

    assert result.status == "copied"
    assert list(store.uploads) == ["upload-1"]
    assert result.upload_left is not None
    assert "upload-1" in result.upload_left


@pytest.mark.parametrize("fails", [False, True])
def test_an_upload_created_after_a_lost_reply_is_named(engine: Engine, fails: bool) -> None:
    class Late(MemoryStore):
        async def list_uploads(
            self, prefix: S3Prefix, after: tuple[str, str] | None
        ) -> tuple[list[OpenUpload], tuple[str, str] | None]:
            page, following = await super().list_uploads(prefix, after)
            return (page if self.calls["upload_part", None] else []), following

    failures = [Failure("create_upload", ConnectionFailed("reset"), last=1, lost=True)]
    failures += [Failure("complete_upload", AccessDenied("denied"))] if fails else []
    store = Late(stored([SIZE]), pause=pause_under(engine.name), failures=failures)

    [result] = Setup().run(jobs_of([SIZE]), store, engine)

    assert result.status == ("failed" if fails else "copied")
    assert list(store.uploads) == ["upload-1"]
    assert result.upload_left is not None
    assert "upload-1" in result.upload_left


def test_a_create_that_never_arrived_leaves_nothing_to_report(engine: Engine) -> None:
    lost = Failure("create_upload", ConnectionFailed("reset"), last=1)
    store = MemoryStore(stored([SIZE]), pause=pause_under(engine.name), failures=[lost])

    [result] = Setup().run(jobs_of([SIZE]), store, engine)

    assert_copied(result, store)
    assert result.upload_left is None


def test_an_upload_that_may_be_left_is_noted_on_the_error(engine: Engine) -> None:
    failures = [
        Failure("create_upload", ConnectionFailed("reset")),
        Failure("list_uploads", AccessDenied("ListMultipartUploads was denied")),
    ]
    store = MemoryStore(stored([SIZE]), pause=pause_under(engine.name), failures=failures)

    [result] = Setup().run(jobs_of([SIZE]), store, engine)

    assert result.status == "failed"
    assert "ListMultipartUploads was denied" in full_message(result.error)
