"""Continuations alone: the conditions they must meet, and the file each belongs to."""

from collections.abc import Callable
from itertools import accumulate, pairwise
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from asyncstream.checksum import CRC64NVME, Checksum, Composite, Digests
from asyncstream.errors import InputError
from asyncstream.locations import S3Object
from asyncstream.pipeline.continuation import Continuation, PartRun, joined
from asyncstream.pipeline.jobs import Jobs
from asyncstream.pipeline.plan import MAX_OBJECT

from .memory_store import checksum_of, etag_of
from .transfers import (
    SIZE,
    WHOLE,
    content,
    run_of,
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
    "runs": [run_of(1, 2, 0, 20), run_of(4, 4, 30, 5)],
}


SPARE = {CRC64NVME: "AAAAAAAAAAA=", "SHA1": ""}
COMPOSITE = Composite("CRC32", "AAAAAA==-5", 8)


def cut_run(first: int, last: int, start: int, length: int, composite: Composite = COMPOSITE) -> PartRun:
    digests = Digests([], composite, start)
    digests.update(WHOLE[start : start + length])
    return replace(run_of(first, last, start, length), pieces=digests.pieces())


def test_a_multipart_sources_continuation_has_piece_checksums() -> None:
    runs = [cut_run(1, 2, 0, 20), cut_run(4, 4, 30, 5)]
    assert list(Continuation(**FINE | {"composite": COMPOSITE, "runs": runs}).runs) == runs


def test_pieces_of_hashes_are_not_kept() -> None:
    """A hash has only one range, which was compared when it was read."""
    runs = [run_of(1, 1, 0, SIZE)]
    hashed = {"composite": Composite("SHA256", "-1", SIZE), "first": SIZE, "step": 0, "runs": runs}
    assert list(Continuation(**FINE | hashed).runs) == runs


def test_a_continuation_may_have_its_runs_in_any_order() -> None:
    runs = [run_of(4, 4, 30, 5), run_of(1, 2, 0, 20)]
    assert list(Continuation(**FINE | {"runs": runs}).runs) == runs


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"first": 0}, "first=0, step=10 cannot cut 35 bytes into parts"),
        ({"first": SIZE + 1}, "first=36, step=10 cannot cut 35 bytes into parts"),
        ({"size": 0}, "cannot cut 0 bytes"),
        ({"step": 0}, "step=0"),
        ({"step": -1}, "step=-1"),
        ({"runs": [run_of(1, 1, 0, 10), run_of(1, 1, 0, 10)]}, "parts 1 to 1 cannot follow part 1"),
        ({"runs": [run_of(1, 2, 0, 20), run_of(2, 3, 10, 20)]}, "parts 2 to 3 cannot follow part 2"),
        ({"runs": [run_of(1, 1, 0, 9)]}, "parts 1 to 1 have 9 bytes, not 10"),
        ({"runs": [run_of(2, 4, 10, 26)]}, "parts 2 to 4 have 26 bytes, not 25"),
        ({"runs": [replace(run_of(4, 4, 30, 5), length=10)]}, "parts 4 to 4 have 10 bytes, not 5"),
        ({"runs": [run_of(0, 1, 0, 10)]}, "parts 0 to 1 cannot follow part 0"),
        ({"runs": [run_of(4, 5, 30, 5)]}, "parts 4 to 5 cannot follow part 0 in 4"),
        ({"runs": [run_of(3, 2, 0, 0)]}, "parts 3 to 2"),
        ({"first": SIZE, "step": 0, "runs": [run_of(2, 2, 35, 0)]}, "parts 2 to 2 cannot follow part 0 in 1"),
        ({"digests": ["CRC16"], "runs": []}, "CRC16"),
        ({"fruitless": -1}, "fruitless"),
        ({"size": MAX_OBJECT + 1, "runs": []}, "limit"),
        ({"runs": [replace(run_of(1, 1, 0, 10), checksums={})]}, "do not have the checksums"),
        ({"runs": [replace(run_of(1, 1, 0, 10), checksums=SPARE)]}, "do not have the checksums"),
        (
            {"runs": [replace(run_of(1, 1, 0, 10), checksums={CRC64NVME: "AAAA"})]},
            "do not have the checksums",
        ),
        ({"digests": [CRC64NVME, "CRC32C"]}, "do not have the checksums.*CRC32C"),
        ({"composite": COMPOSITE}, "parts 1 to 2 do not have the checksums of their pieces"),
        ({"composite": COMPOSITE, "runs": [replace(run_of(1, 1, 0, 10), pieces="AAAA")]}, "of their pieces"),
        ({"composite": replace(COMPOSITE, part_size=0), "runs": []}, "'CRC32' of parts of 0 bytes"),
        ({"composite": replace(COMPOSITE, kind="CRC16"), "runs": []}, "'CRC16' of parts of 8 bytes"),
        # 35 bytes in five parts: 7 or 8 bytes each. Computing a billion parts of one byte would take minutes.
        *(
            (
                {"composite": replace(COMPOSITE, part_size=size), "runs": []},
                "does not have as many parts as 'AAAAA==-5'",
            )
            for size in (1, 6, 9, 2**63)
        ),
        *(
            ({"composite": replace(COMPOSITE, value=value), "runs": []}, "does not have as many parts as")
            for value in ("AAAAAA==", "AAAAAA==-x", "-", "", "AAAAAA==-0", "-5\n", f"-{10**400}")
        ),
        (
            {"composite": Composite("CRC32", "-10001", 5), "size": 50_001, "step": 50_001, "runs": []},
            "does not have as many parts as '-10001'",
        ),
        *(
            ({name: text}, "is not an upload ID, an ETag or a checksum")
            for name in ("upload_id", "etag")
            for text in ("", "\ud800", "a\r\nb", "x" * 2_049)
        ),
        ({"checksum": Checksum(CRC64NVME, "a\nb")}, "is not an upload ID, an ETag or a checksum"),
        ({"checksum": Checksum("CRC16", "AAAA")}, "kind 'CRC16' are unknown"),
        ({"step": -1, "first": SIZE, "runs": []}, "step=-1"),
        ({"fruitless": 10**400}, "fruitless"),
        ({"composite": replace(COMPOSITE, kind="SHA1"), "runs": []}, "SHA1 cannot be computed from those"),
    ],
)
@pytest.mark.parametrize(
    "made",
    [
        lambda values: Continuation(**values),
        lambda values: msgspec.convert(msgspec.to_builtins(values), Continuation),
    ],
)
def test_a_continuation_that_is_not_whole_is_refused(
    made: Callable[[dict[str, Any]], Continuation], wrong: dict[str, Any], message: str
) -> None:
    with pytest.raises((InputError, msgspec.ValidationError), match=message):
        made(FINE | wrong)


# A continuation from a Lambda of an older version, which kept the parts instead of asking S3 for them.
OLD = """{"upload_id":"upload-1","etag":"\\"e\\"","size":35,"first":10,"step":10,"verified":true,
"checksum":{"kind":"CRC32","value":"AAAAAA=="},"composite":null,"digests":["CRC32","CRC64NVME"],
"parts":[{"number":4,"etag":"\\"4\\"","length":5,"checksums":{
"CRC32":{"kind":"CRC32","value":"AAAABA=="},"CRC64NVME":{"kind":"CRC64NVME","value":"AAAAAAAAAAQ="}}},
{"number":2,"etag":"\\"2\\"","length":10,"checksums":{
"CRC32":{"kind":"CRC32","value":"AAAAAA=="},"CRC64NVME":{"kind":"CRC64NVME","value":"AAAAAAAAAAA="}}},
{"number":1,"etag":"\\"1\\"","length":10,"checksums":{
"CRC32":{"kind":"CRC32","value":"AAAAAA=="},"CRC64NVME":{"kind":"CRC64NVME","value":"AAAAAAAAAAA="}}}],
"fruitless":1}"""
ZERO = {"CRC32": "AAAAAA==", CRC64NVME: "AAAAAAAAAAA="}
FOUR = {"CRC32": "AAAABA==", CRC64NVME: "AAAAAAAAAAQ="}


def test_an_old_continuation_is_read_with_its_parts_as_runs() -> None:
    left = msgspec.json.decode(OLD, type=Continuation)

    assert left.runs == [PartRun(1, 2, 20, ZERO), PartRun(4, 4, 5, FOUR)]
    assert (left.parts, left.fruitless, left.checksum) == ((), 1, Checksum("CRC32", "AAAAAA=="))
    assert msgspec.json.decode(msgspec.json.encode(left), type=Continuation) == left


def test_an_old_continuation_loses_its_sources_part_checksum() -> None:
    with_composite = OLD.replace(
        '"composite":null', '"composite":{"kind":"CRC32","value":"x-5","part_size":8}'
    )

    left = msgspec.json.decode(with_composite, type=Continuation)

    assert (left.composite, [run.pieces for run in left.runs]) == (None, ["", ""])


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('"number":2', '"number":1', "parts 1 to 1 cannot follow part 1"),
        ('"number":4', '"number":5', "parts 5 to 5 cannot follow part 2 in 4"),
        ('"length":5', '"length":6', "parts 4 to 4 have 6 bytes, not 5"),
        ("AAAAAAAAAAQ=", "AAAA", "parts 4 to 4 do not have the checksums"),
    ],
)
def test_an_old_continuation_that_is_not_whole_is_refused(old: str, new: str, message: str) -> None:
    with pytest.raises(msgspec.ValidationError, match=message):
        msgspec.json.decode(OLD.replace(old, new, 1), type=Continuation)


@given(
    lengths=st.lists(st.integers(1, 30), min_size=1, max_size=8),
    there=st.lists(st.booleans(), min_size=8, max_size=8),
)
def test_adjacent_parts_share_one_combined_checksum(lengths: list[int], there: list[bool]) -> None:
    stops = [*accumulate(lengths)]
    runs = [
        PartRun(n, n, length, {CRC64NVME: checksum_of(content(0, stop)[stop - length :]).value})
        for n, (stop, length) in enumerate(zip(stops, lengths, strict=True), start=1)
        if there[n - 1]
    ]

    together = joined(reversed(runs))

    assert all(a.last + 1 < b.first for a, b in pairwise(together))
    numbers = [n for run in together for n in range(run.first, run.last + 1)]
    assert numbers == [run.first for run in runs]
    for run in together:
        start, stop = stops[run.first - 1] - lengths[run.first - 1], stops[run.last - 1]
        assert run.length == stop - start
        assert run.checksums == {CRC64NVME: checksum_of(content(0, stop)[start:]).value}


@pytest.mark.parametrize("pair", [(source(0), target(1)), (source(2), target(2)), (target(0), source(0))])
def test_a_continuation_of_a_file_not_in_the_list_is_reported(pair: tuple[S3Object, S3Object]) -> None:
    jobs = Jobs([(source(0), target(0)), (source(1), target(1))])
    jobs.add(0)
    jobs.add(1)

    with pytest.raises(
        InputError, match=f"continuation of {pair[0]} -> {pair[1]}, which is not one of the files"
    ):
        jobs.add_continuations({(source(0), target(0)): Continuation(**FINE), pair: Continuation(**FINE)})
