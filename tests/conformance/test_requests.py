"""A transfer sends no needless request, and the report counts the same requests as the server."""

import pytest

from asyncstream import AccessDenied, MiB, S3Prefix
from asyncstream.lab.s3.faults import Fault
from tests.servers import Bucket, LabServer, S3Server, content

from .fixture_types import Copy, Pairs

PART = 5 * MiB


@pytest.mark.parametrize("multipart", [False, True])
@pytest.mark.parametrize("size", [PART, 0, 1])
@pytest.mark.varied("size", server="lab")
def test_a_file_that_fits_one_part_takes_one_get_and_one_put(
    copy: Copy, server: S3Server, bucket: Bucket, pairs: Pairs, size: int, multipart: bool
) -> None:
    bucket.put("file", content(size))
    with server.counted() as seen:
        report = copy(pairs("file"), multipart=multipart)
    report.raise_for_failures()
    assert seen == report.requests == {"GetObject": 1, "PutObject": 1}


def test_a_file_of_three_parts_takes_three_gets_and_no_head(
    copy: Copy, server: S3Server, bucket: Bucket, pairs: Pairs
) -> None:
    bucket.put("file", content(2 * PART + 1))
    with server.counted() as seen:
        report = copy(pairs("file"), multipart=True, part_size=PART)
    report.raise_for_failures()
    assert seen == report.requests
    assert seen == {
        "GetObject": 3,
        "CreateMultipartUpload": 1,
        "UploadPart": 3,
        "CompleteMultipartUpload": 1,
    }


def test_what_a_listing_told_is_not_asked_again(copy: Copy, server: S3Server, bucket: Bucket) -> None:
    for key, size in {"in/empty": 0, "in/small": 10, "in/large": PART + 1}.items():
        bucket.put(key, content(size))
    with server.counted() as seen:
        report = copy([(S3Prefix(bucket.name, "in/"), S3Prefix(bucket.name, "copies/"))], multipart=True)
    report.raise_for_failures()
    assert seen == report.requests
    assert seen == {
        "ListObjectsV2": 1,
        "GetObject": 4,
        "HeadObject": 1,  # only a GET of the whole object returns the checksum of the whole
        "PutObject": 2,
        "CreateMultipartUpload": 1,
        "UploadPart": 2,
        "CompleteMultipartUpload": 1,
    }


def test_a_missing_file_is_asked_for_once(copy: Copy, server: S3Server, pairs: Pairs) -> None:
    with server.counted() as seen:
        report = copy(pairs("missing"))
    assert seen == report.requests == {"GetObject": 1}


@pytest.mark.parametrize("server", ["lab"], indirect=True)
def test_only_the_start_of_a_refused_part_is_read(
    copy: Copy, server: LabServer, bucket: Bucket, pairs: Pairs
) -> None:
    server.lab.declare(bucket.name, [("a", 100 * MiB)])
    server.lab.set_faults([Fault("refuse", "PutObject", status=403, code="AccessDenied")])
    server.lab.reset_stats()
    report = copy(pairs("a"), verify="after")
    server.lab.set_faults([])
    assert [type(result.error) for result in report.failed] == [AccessDenied]
    assert server.lab.stats()["bytes_out"] < 20 * MiB
