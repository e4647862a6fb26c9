"""The checksums by which source and destination agreed, and which files may be a single PUT."""

from collections.abc import Sequence
from typing import Any

import pytest
from msgspec.structs import replace

from asyncstream.checksum import CRC64NVME, Checksum
from asyncstream.errors import ChecksumMismatch, SlowDown
from asyncstream.objects import CompletedPart, MultipartUpload, Written
from asyncstream.ports import Body, Engine

from .memory_store import Damage, Failure, MemoryStore, checksum_of, pause_under
from .transfers import (
    ATTEMPTS,
    SIZE,
    Setup,
    Verify,
    assert_copied,
    assert_nothing_is_left,
    cut,
    jobs_of,
    source,
    source_checksums,
    stored,
    target,
)


@pytest.mark.parametrize("kind", [None, CRC64NVME, "CRC32", "CRC32C", "SHA1", "SHA256"])
@pytest.mark.parametrize("multipart", [True, False])
def test_a_result_names_the_checksums_that_agreed(engine: Engine, kind: str | None, multipart: bool) -> None:
    """One is the source's and one the destination's."""
    store = MemoryStore(
        stored([SIZE]), pause=pause_under(engine.name), checksums=source_checksums(kind) if kind else None
    )

    [result] = Setup(multipart=multipart).run(jobs_of([SIZE]), store, engine)

    assert_copied(result, store)
    # The hash of the whole does not follow from the parts' hashes.
    checkable = kind if not multipart or kind in {CRC64NVME, "CRC32", "CRC32C"} else None
    assert (result.read_verified, result.write_verified) == (checkable, CRC64NVME)
    assert (result.restarted, result.attempts) == (None, result.parts)


@pytest.mark.parametrize("multipart", [True, False])
def test_of_a_server_that_knows_no_checksums_the_result_says_so(engine: Engine, multipart: bool) -> None:
    store = MemoryStore(stored([SIZE]), pause=pause_under(engine.name), verified=False, at_once=0)

    [result] = Setup(multipart=multipart).run(jobs_of([SIZE]), store, engine)

    assert_copied(result, store)
    assert (result.read_verified, result.write_verified) == (None, None)
    assert result.parts == (4 if multipart else 1)


@pytest.mark.parametrize("multipart", [True, False])
def test_nothing_is_compared_if_that_is_not_wanted(engine: Engine, multipart: bool) -> None:
    wrong = {source(0): checksum_of(b"something else")}
    store = MemoryStore(stored([SIZE]), pause=pause_under(engine.name), checksums=wrong)

    [result] = Setup(multipart=multipart, verify="off").run(jobs_of([SIZE]), store, engine)

    assert_copied(result, store)
    assert (result.read_verified, result.write_verified) == (None, None)
    assert store.calls["head", None] == 0


@pytest.mark.parametrize(
    ("verify", "has_checksum", "at_once", "operation"),
    [
        ("before", False, 0, "create_upload"),
        ("before", True, 0, "put"),
        ("before", False, SIZE, "put"),
        ("after", False, 0, "put"),
        ("off", False, 0, "put"),
    ],
)
def test_a_put_needs_bytes_known_before_or_compared_after(
    engine: Engine, verify: Verify, has_checksum: bool, at_once: int, operation: str
) -> None:
    store = MemoryStore(
        stored([SIZE]),
        pause=pause_under(engine.name),
        checksums=source_checksums() if has_checksum else None,
        at_once=at_once,
    )

    [result] = Setup(multipart=False, verify=verify).run(jobs_of([SIZE]), store, engine)

    assert_copied(result, store)
    assert result.parts == 1
    assert {store.calls[name, None] for name in ("create_upload", "put")} == {0, 1}
    assert store.calls[operation, None] == 1


class Pretends(MemoryStore):
    """Accepts the name of the algorithm, and ignores it."""

    async def upload_part(self, upload: MultipartUpload, number: int, start: int, body: Body) -> Written:
        return replace(await super().upload_part(upload, number, start, body), checksum=None)

    async def complete_upload(
        self, upload: MultipartUpload, parts: Sequence[CompletedPart], checksum: Checksum | None
    ) -> Written:
        return replace(await super().complete_upload(upload, parts, checksum), checksum=None)


def test_unconfirmed_bytes_are_not_reported_as_verified(engine: Engine) -> None:
    store = Pretends(stored([SIZE]), pause=pause_under(engine.name))

    [result] = Setup().run(jobs_of([SIZE]), store, engine)

    assert_copied(result, store)
    assert (result.read_verified, result.write_verified) == (None, None)
    assert (result.restarted, result.attempts, result.parts) == (None, 4, 4)


PARTED_KINDS = pytest.mark.parametrize("kind", ["CRC32", "CRC32C", "SHA1", "SHA256"])
# Ranges of ten bytes in a file of thirty-five: none of them, or each, ends where a part of the source does.
PART_SIZES = pytest.mark.parametrize("part_size", [3, 10, 17, SIZE])
ONE_RANGE_OR_SEVERAL = pytest.mark.parametrize("multipart", [False, True])


def in_parts(engine: Engine, kind: str, sizes: Sequence[int], **more: Any) -> MemoryStore:
    """Return a store whose one source was uploaded in parts of these sizes."""
    uploaded = {source(0): (kind, sizes)}
    return MemoryStore(stored([SIZE]), pause=pause_under(engine.name), uploaded=uploaded, **more)


@PARTED_KINDS
@PART_SIZES
@ONE_RANGE_OR_SEVERAL
@pytest.mark.parametrize("listed", [False, True])
def test_a_multipart_source_is_compared_by_its_part_checksums(
    engine: Engine, kind: str, part_size: int, multipart: bool, listed: bool
) -> None:
    store = in_parts(engine, kind, cut(SIZE, part_size))

    [result] = Setup(multipart=multipart).run(jobs_of([SIZE], listed=listed), store, engine)

    assert_copied(result, store)
    checkable = kind if not multipart or kind in {"CRC32", "CRC32C"} else None
    assert (result.read_verified, result.write_verified) == (checkable, CRC64NVME)
    assert (result.restarted, result.attempts) == (None, result.parts)
    # HEADs ask for the last part's size, and the first's if there are more between; one part needs none.
    asked = {1: 0, 2: 0, 3: 1, 4: 2}[min(4, -(-SIZE // part_size) + 1)]
    assert store.calls["part_size", None] == (asked if checkable else 0)


@pytest.mark.parametrize(
    ("sizes", "asked"),
    [
        ([10, 25], 1),
        ([12, 13, 10], 1),  # as many parts as with 12 bytes each, but no two parts of one size have 25
        ([13, 11, 11], 2),  # as many parts as with 13 bytes each
        ([9, 11, 9, 6], 1),
    ],
)
@ONE_RANGE_OR_SEVERAL
def test_a_source_of_unequal_parts_is_copied_unverified(
    engine: Engine, sizes: list[int], asked: int, multipart: bool
) -> None:
    store = in_parts(engine, "CRC32", sizes)

    [result] = Setup(multipart=multipart).run(jobs_of([SIZE]), store, engine)

    assert_copied(result, store)
    assert (result.read_verified, result.write_verified) == (None, CRC64NVME)
    assert store.calls["part_size", None] == asked


class TellsNoParts(MemoryStore):
    """Does not support part numbers."""

    tells_part_sizes = False


@ONE_RANGE_OR_SEVERAL
def test_a_source_of_unknown_part_sizes_is_copied_unverified(engine: Engine, multipart: bool) -> None:
    uploaded = {source(0): ("CRC32", cut(SIZE, 10))}
    store = TellsNoParts(stored([SIZE]), pause=pause_under(engine.name), uploaded=uploaded)

    [result] = Setup(multipart=multipart).run(jobs_of([SIZE]), store, engine)

    assert_copied(result, store)
    assert (result.read_verified, result.write_verified) == (None, CRC64NVME)


def test_an_empty_source_uploaded_as_a_part_is_copied_unverified(engine: Engine) -> None:
    uploaded = {source(0): ("CRC32", [0])}
    store = MemoryStore(stored([0]), pause=pause_under(engine.name), uploaded=uploaded)

    [result] = Setup().run(jobs_of([0]), store, engine)

    assert (result.error, result.read_verified) == (None, None)
    assert store.objects[target(0)] == b""


@pytest.mark.parametrize(
    ("verify", "at_once", "operation"),
    [("before", 0, "create_upload"), ("before", SIZE, "put"), ("after", 0, "put"), ("off", 0, "put")],
)
def test_a_checksum_of_parts_is_no_checksum_to_send_ahead(
    engine: Engine, verify: Verify, at_once: int, operation: str
) -> None:
    """S3 would compare it with the checksum of the whole."""
    store = in_parts(engine, "CRC32", cut(SIZE, 10), at_once=at_once)

    [result] = Setup(multipart=False, verify=verify).run(jobs_of([SIZE]), store, engine)

    assert_copied(result, store)
    assert {store.calls[name, None] for name in ("create_upload", "put")} == {0, 1}
    assert store.calls[operation, None] == 1
    assert result.read_verified == (None if verify == "off" else "CRC32")
    assert store.calls["part_size", None] == (0 if verify == "off" else 2)


@PART_SIZES
@ONE_RANGE_OR_SEVERAL
@pytest.mark.parametrize("verify", ["before", "after"])
def test_a_multipart_source_read_wrong_once_is_read_again(
    engine: Engine, part_size: int, multipart: bool, verify: Verify
) -> None:
    store = in_parts(engine, "CRC32", cut(SIZE, part_size), at_once=0, damages=[Damage("read", 2, 2)])

    [result] = Setup(multipart=multipart, verify=verify).run(jobs_of([SIZE]), store, engine)

    assert_copied(result, store)
    assert result.read_verified == "CRC32"
    assert bool(result.restarted) == multipart


@PART_SIZES
@ONE_RANGE_OR_SEVERAL
@pytest.mark.parametrize("verify", ["before", "after"])
def test_a_multipart_source_always_read_wrong_is_never_visible(
    engine: Engine, part_size: int, multipart: bool, verify: Verify
) -> None:
    store = in_parts(engine, "CRC32", cut(SIZE, part_size), at_once=0, damages=[Damage("read")])

    [result] = Setup(multipart=multipart, verify=verify).run(jobs_of([SIZE]), store, engine)

    assert isinstance(result.error, ChecksumMismatch)
    assert result.read_verified is None
    assert target(0) not in store.objects
    assert_nothing_is_left(store)


@pytest.mark.parametrize(("times", "status"), [(1, "copied"), (ATTEMPTS, "failed")])
def test_requests_for_part_sizes_are_retried_like_others(engine: Engine, times: int, status: str) -> None:
    failures = [Failure("part_size", SlowDown("503"), last=times)]
    store = in_parts(engine, "CRC32", cut(SIZE, 10), failures=failures)

    [result] = Setup().run(jobs_of([SIZE]), store, engine)

    assert result.status == status
    assert result.read_verified == ("CRC32" if status == "copied" else None)
    assert_nothing_is_left(store)
