"""By which checksums a file's source and destination agreed, and when its bytes may be one PUT."""

from collections.abc import Sequence

import pytest
from msgspec.structs import replace

from asyncstream.checksum import CRC64NVME, Checksum
from asyncstream.ports import Body, CompletedPart, Engine, MultipartUpload, Written

from .memory_store import MemoryStore, checksum_of, pause_under
from .transfers import (
    SIZE,
    Setup,
    Verify,
    assert_copied,
    jobs_of,
    source,
    stored,
    told,
)


@pytest.mark.parametrize("kind", [None, CRC64NVME, "CRC32", "CRC32C", "SHA1", "SHA256"])
@pytest.mark.parametrize("multipart", [True, False])
def test_a_result_says_by_which_checksums_source_and_destination_agreed(
    engine: Engine, kind: str | None, multipart: bool
) -> None:
    store = MemoryStore(
        stored([SIZE]), pause=pause_under(engine.name), checksums=told(kind) if kind else None
    )

    [result] = Setup(multipart=multipart).run(jobs_of([SIZE]), store, engine)

    assert_copied(result, store)
    # The hash of a whole does not follow from those of its parts.
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
def test_one_put_does_where_the_bytes_are_known_before_or_may_be_compared_after(
    engine: Engine, verify: Verify, has_checksum: bool, at_once: int, operation: str
) -> None:
    store = MemoryStore(
        stored([SIZE]),
        pause=pause_under(engine.name),
        checksums=told() if has_checksum else None,
        at_once=at_once,
    )

    [result] = Setup(multipart=False, verify=verify).run(jobs_of([SIZE]), store, engine)

    assert_copied(result, store)
    assert result.parts == 1
    assert {store.calls[name, None] for name in ("create_upload", "put")} == {0, 1}
    assert store.calls[operation, None] == 1


class Pretends(MemoryStore):
    """Takes the name of the algorithm, and does nothing with it."""

    async def upload_part(self, upload: MultipartUpload, number: int, body: Body) -> Written:
        return replace(await super().upload_part(upload, number, body), checksum=None)

    async def complete_upload(
        self, upload: MultipartUpload, parts: Sequence[CompletedPart], checksum: Checksum | None
    ) -> Written:
        return replace(await super().complete_upload(upload, parts, checksum), checksum=None)


def test_what_a_server_never_confirmed_is_not_told_to_be_verified(engine: Engine) -> None:
    store = Pretends(stored([SIZE]), pause=pause_under(engine.name))

    [result] = Setup().run(jobs_of([SIZE]), store, engine)

    assert_copied(result, store)
    assert (result.read_verified, result.write_verified) == (None, None)
    assert (result.restarted, result.attempts, result.parts) == (None, 4, 4)
