"""Files that outlast the time there is: left pending, and taken up by the next transfer of any engine."""

from collections import Counter

import msgspec
import pytest

from asyncstream import MiB, S3Object, TransferConfig, TransferSession
from asyncstream.continuation import Continuation
from asyncstream.engines import ENGINES

GB = 10**9
PAIR = (S3Object("sources", "file"), S3Object("copies", "file"))


@pytest.fixture
def server(lab_of):
    """Slow enough for several transfers of two seconds."""
    return lab_of("60/220/5", keep=False)


def chain(server, sessions, seconds, between=lambda _: None, **settings):
    """Transfers one after the other, by the sessions in turn, until the file is no longer pending."""
    config = TransferConfig(deadline=seconds, at_deadline="pending", **settings)
    continuations, results = {}, []
    while not results or results[-1].status == "pending":
        number = len(results)
        assert number < 60, "the chain does not end"
        report = sessions[number % len(sessions)].transfer([PAIR], config, continuations=continuations)
        results += report.files
        # As it travels from one Lambda's reply into the next one's event.
        continuations = {
            pair: msgspec.json.decode(msgspec.json.encode(left), type=Continuation)
            for pair, left in report.continuations.items()
        }
        between(number)
    return results


@pytest.fixture
def sessions(server):
    opened = [TransferSession(engine, endpoint_url=server.endpoint_url) for engine in ENGINES]
    yield opened
    for session in opened:
        session.close()


def confirmed_parts(server):
    return Counter(
        row["part_number"]
        for row in server.lab.request_log()
        if row["operation"] == "UploadPart" and row["status"] == 200
    )


@pytest.mark.slow
def test_2_gb_in_transfers_of_two_seconds_each_by_engines_in_turn(server, sessions):
    server.lab.declare("sources", [("file", 2 * GB)])
    results = chain(server, sessions, 2.0, multipart=True, part_size=16 * MiB, max_concurrency=6)
    assert len(results) >= 4
    assert results[-1].error is None
    assert [result.status for result in results] == ["pending"] * (len(results) - 1) + ["copied"]
    source, copy = server.lab.checksums("sources")["file"], server.lab.checksums("copies")["file"]
    assert (copy.size, copy.crc64nvme) == (source.size, source.crc64nvme)
    assert results[-1].read_verified == results[-1].write_verified == "CRC64NVME"
    assert set(confirmed_parts(server).values()) == {1}
    assert server.client.list_multipart_uploads(Bucket="copies").get("Uploads", []) == []


def test_the_checksum_of_the_parts_a_source_was_uploaded_in_is_compared_at_the_end_of_a_chain(
    server, sessions
):
    """Its parts end elsewhere than the ranges, and an engine takes up what another has read of a part."""
    server.lab.declare("sources", [("file", 60 * MiB)], checksum="CRC32", part_size=8 * MiB)
    results = chain(server, sessions, 0.5, multipart=True, part_size=5 * MiB, max_concurrency=2)
    assert len(results) >= 2
    assert (results[-1].status, results[-1].read_verified) == ("copied", "CRC32")
    assert results[-1].restarted is None
    source, copy = server.lab.checksums("sources")["file"], server.lab.checksums("copies")["file"]
    assert copy.crc64nvme == source.crc64nvme


def test_a_source_overwritten_between_two_transfers_starts_the_file_over_and_says_so(server, sessions):
    server.lab.declare("sources", [("file", 60 * MiB)])

    def overwrite(number):
        if number == 0:
            server.client.put_object(Bucket="sources", Key="file", Body=b"new")

    results = chain(server, sessions, 0.5, overwrite, multipart=True, part_size=5 * MiB, max_concurrency=2)
    assert results[-1].status == "copied"
    assert results[-1].bytes == 3
    assert "overwritten" in results[-1].restarted
    assert server.client.list_multipart_uploads(Bucket="copies").get("Uploads", []) == []


def test_an_upload_that_vanished_between_two_transfers_starts_the_file_over_and_says_so(server, sessions):
    server.lab.declare("sources", [("file", 60 * MiB)])

    def abort(number):
        if number == 0:
            [upload] = server.client.list_multipart_uploads(Bucket="copies")["Uploads"]
            server.client.abort_multipart_upload(Bucket="copies", Key="file", UploadId=upload["UploadId"])

    results = chain(server, sessions, 0.6, abort, multipart=True, part_size=5 * MiB, max_concurrency=2)
    assert results[-1].status == "copied"
    assert any("NoSuchUpload" in (result.restarted or "") for result in results)
    source, copy = server.lab.checksums("sources")["file"], server.lab.checksums("copies")["file"]
    assert copy.crc64nvme == source.crc64nvme


def test_what_had_no_time_to_begin_is_pending_without_a_continuation(server, sessions):
    server.lab.declare("sources", [("file", 100)])
    config = TransferConfig(deadline=1e-9, at_deadline="pending")
    for session in sessions:
        [result] = session.transfer([PAIR], config).files
        assert (result.status, result.continuation, result.attempts) == ("pending", None, 0)
