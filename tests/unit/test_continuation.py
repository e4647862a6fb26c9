"""A continuation by itself: what it has to have, and which file it is given to."""

from collections.abc import Callable
from typing import Any

import msgspec
import pytest
from msgspec.structs import replace

from asyncstream.checksum import CRC64NVME, Checksum, Composite, Digests
from asyncstream.continuation import CompletedPart, Continuation
from asyncstream.errors import InputError
from asyncstream.jobs import continued
from asyncstream.locations import S3Object
from asyncstream.plan import MAX_OBJECT

from .memory_store import checksum_of, etag_of
from .transfers import (
    SIZE,
    WHOLE,
    jobs_of,
    part,
    source,
    target,
)

FINE: dict[str, Any] = {
    "upload_id": "upload-1",
    "etag": etag_of(WHOLE),
    "size": SIZE,
    "first": 10,
    "step": 10,
    "digests": [CRC64NVME],
    "parts": [part(1, 0, 10), part(4, 30, 5)],
}


OF_PARTS = Composite("CRC32", "AAAAAA==-5", 8)


def cut_part(number: int, start: int, length: int, composite: Composite = OF_PARTS) -> CompletedPart:
    digests = Digests([], composite, start)
    digests.update(WHOLE[start : start + length])
    return replace(part(number, start, length), pieces=digests.pieces())


def test_a_continuation_has_the_checksums_of_pieces_where_its_source_was_uploaded_in_parts() -> None:
    parts = [cut_part(1, 0, 10), cut_part(4, 30, 5)]
    assert list(Continuation(**FINE | {"composite": OF_PARTS, "parts": parts}).parts) == parts
    whole = [cut_part(1, 0, SIZE, Composite("SHA256", "-1", SIZE))]
    of_hashes = {"composite": Composite("SHA256", "-1", SIZE), "first": SIZE, "step": 0, "parts": whole}
    assert list(Continuation(**FINE | of_hashes).parts) == whole


def test_a_continuation_may_have_its_parts_in_any_order_and_checksums_to_spare() -> None:
    parts = [
        part(4, 30, 5),
        replace(part(1, 0, 10), checksums={CRC64NVME: checksum_of(b""), "SHA1": Checksum("SHA1", "")}),
    ]
    assert list(Continuation(**FINE | {"parts": parts}).parts) == parts


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"first": 0}, "first=0, step=10 of 35 bytes"),
        ({"first": SIZE + 1}, "first=36, step=10 of 35 bytes"),
        ({"size": 0}, "of 0 bytes"),
        ({"step": 0}, "step=0"),
        ({"step": -1}, "step=-1"),
        ({"parts": [part(1, 0, 10), part(1, 0, 10)]}, "a part is named twice"),
        ({"parts": [part(1, 0, 9)]}, "part 1 has 9 bytes, not 10"),
        ({"parts": [part(2, 10, 11)]}, "part 2 has 11 bytes, not 10"),
        ({"parts": [part(4, 30, 10)]}, "part 4 has 10 bytes, not 5"),
        ({"parts": [part(0, 0, 10)]}, "part 0"),
        ({"parts": [part(5, 0, 10)]}, "part 5"),
        ({"parts": [replace(part(5, 0, 0), length=-5)]}, "part 5"),
        ({"size": 30, "parts": [part(4, 30, 0)]}, "part 4"),
        ({"first": SIZE, "step": 0, "parts": [part(2, 35, 0)]}, "part 2"),
        ({"digests": ["MD5"], "parts": []}, "MD5"),
        ({"fruitless": -1}, "fruitless"),
        ({"size": MAX_OBJECT + 1, "parts": []}, "limit"),
        ({"parts": [replace(part(1, 0, 10), checksums={})]}, "lacks a checksum"),
        ({"digests": [CRC64NVME, "SHA1"]}, "lacks a checksum"),
        ({"composite": OF_PARTS}, "part 1 lacks checksums of its pieces"),
        ({"composite": OF_PARTS, "parts": [cut_part(2, 10, 10), cut_part(1, 0, 5)]}, "part 1 has 5 bytes"),
        ({"composite": OF_PARTS, "parts": [replace(part(1, 0, 10), pieces="AAAA")]}, "of its pieces"),
        ({"composite": replace(OF_PARTS, part_size=0), "parts": []}, "'CRC32' of parts of 0 bytes"),
        ({"composite": replace(OF_PARTS, kind="MD5"), "parts": []}, "'MD5' of parts of 8 bytes"),
        ({"composite": replace(OF_PARTS, kind="SHA1"), "parts": []}, "SHA1 does not follow from those"),
    ],
)
@pytest.mark.parametrize(
    "made", [lambda values: Continuation(**values), lambda values: msgspec.convert(values, Continuation)]
)
def test_a_continuation_that_is_not_whole_is_refused(
    made: Callable[[dict[str, Any]], Continuation], wrong: dict[str, Any], message: str
) -> None:
    with pytest.raises((InputError, msgspec.ValidationError), match=message):
        made(FINE | wrong)


def test_jobs_are_given_what_is_left_of_them() -> None:
    jobs = jobs_of([SIZE, SIZE], listed=True)
    left = Continuation(**FINE)

    assert continued(jobs, {}) is jobs
    assert continued(jobs, {(source(1), target(1)): left}) == [jobs[0], replace(jobs[1], continuation=left)]


@pytest.mark.parametrize("pair", [(source(0), target(1)), (source(2), target(2)), (target(0), source(0))])
def test_what_is_left_of_a_file_that_is_not_to_be_copied_is_told(pair: tuple[S3Object, S3Object]) -> None:
    with pytest.raises(InputError, match=f"continuation of {pair[0]} -> {pair[1]}, which is not among"):
        continued(
            jobs_of([SIZE, SIZE]), {(source(0), target(0)): Continuation(**FINE), pair: Continuation(**FINE)}
        )
