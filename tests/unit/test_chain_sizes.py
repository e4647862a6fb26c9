"""The size of a reply with pending files, which the next invocation of a chain gets as its event.

Lambda's reply lists pending files in up to 200,000 bytes.
"""

import json

import msgspec
import pytest

from asyncstream.checksum import CRC64NVME, Composite
from asyncstream.events import direct_reply
from asyncstream.events.handler_replies import Invoked
from asyncstream.locations import S3Object
from asyncstream.objects import MAX_PARTS
from asyncstream.pipeline.continuation import Continuation, PartRun
from asyncstream.pipeline.plan import MIN_PART
from asyncstream.pipeline.results import FileResult, FileResults, TransferReport

TB = 10**12
# S3 user guide, "CreateMultipartUpload" and examples: ids have about 128 characters.
UPLOAD_ID = "x" * 150
CRCS = {CRC64NVME: "AAAAAAAAAAA=", "CRC32C": "AAAAAA=="}
SIZES = [2_500 * MIN_PART, 5 * TB, 50 * TB]


def continuation(size: int, gaps: int = 0) -> Continuation:
    """Return a half-confirmed file's continuation with `gaps` missing parts, from a multipart source."""
    step = max(MIN_PART, -(-size // MAX_PARTS))
    done = size // step // 2
    runs = [PartRun(n, n, step, CRCS, "A" * 16) for n in range(done + 2, done + 2 + 2 * gaps, 2)]
    return Continuation(
        upload_id=UPLOAD_ID,
        etag='"d41d8cd98f00b204e9800998ecf8427e-10000"',
        size=size,
        first=step,
        step=step,
        verified=True,
        composite=Composite("CRC32C", "AAAAAA==-10000", -(-size // MAX_PARTS)),
        digests=sorted(CRCS),
        runs=[PartRun(1, done, done * step, CRCS, "A" * 16), *runs],
    )


def file_left(number: int, left: Continuation) -> FileResult:
    source, target = S3Object("raw", f"in/{number:06d}"), S3Object("clean", f"out/{number:06d}")
    return FileResult(source, target, "pending", 0, None, 0, 0, 0.0, continuation=left)


@pytest.mark.parametrize("size", SIZES)
def test_a_continuation_fits_a_kilobyte_however_large_its_file(size: int) -> None:
    """Ten connections leave it so: at most every second part of ten is missing."""
    assert len(msgspec.json.encode(continuation(size, gaps=5))) < 1_000


@pytest.mark.parametrize("size", SIZES)
def test_a_chains_reply_is_small_however_large_its_files(size: int) -> None:
    """Ten connections have at most ten files open."""
    left = [file_left(number, continuation(size)) for number in range(10)]
    report = TransferReport("threads", FileResults.of(left), 0.0, 10, 0, {})

    reply = msgspec.to_builtins(direct_reply.reply_to(report, Invoked("id", 0.0)))

    assert len(json.dumps(reply)) < 20_000
    assert len(reply["pending"]) == 10
