"""Every fault of the network and of S3, with every engine: the copy recovers, or fails with its error.

A failed copy leaves nothing behind. Many tests share a session, as many invocations share a Lambda
environment: each test starts with connections that the fault before it may have broken. A table at the end
of the run shows the outcome of each fault.
"""

import asyncio
import socket
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import pytest

from asyncstream import (
    ConnectionFailed,
    Event,
    FileResult,
    KiB,
    MiB,
    S3Object,
    S3Prefix,
    ServiceBusy,
    SourceChanged,
    TransferConfig,
    TransferSession,
)
from asyncstream.engines import EngineName
from asyncstream.errors import (
    ChecksumMismatch,
    CredentialsExpired,
    S3Error,
    SlowDown,
    UploadGone,
    WriteConflict,
)
from asyncstream.lab.s3 import LabS3
from asyncstream.lab.s3.faults import Fault, Kind, mix
from asyncstream.pipeline.progress import BytesMoved, PartRetried
from tests.fault_table import MODES, FaultRecord
from tests.places import key_of
from tests.servers import Bucket, S3Server
from tests.servers.base import PATIENCE, free_port

from .fixture_types import Copy

pytestmark = [pytest.mark.loops, pytest.mark.parametrize("server", ["lab"], indirect=True)]

GET, PUT, PART = ("GetObject",), ("PutObject",), ("UploadPart",)
CREATE, COMPLETE = ("CreateMultipartUpload",), ("CompleteMultipartUpload",)
HEAD = ("HeadObject",)
WRITE = PUT + PART
EVERY = GET + WRITE + CREATE + COMPLETE
OF_MODE = {"single PUT": GET + PUT, "multipart": GET + CREATE + PART + COMPLETE}
SIZE = {"single PUT": 1 * MiB, "multipart": 11 * MiB}  # multipart: three parts

FOR_EVER = {"seconds": 3600.0}
OFTEN = {"max_attempts": 20}


@dataclass(frozen=True)
class Row:
    """A fault, the operations that each suffer it, and the expected outcome.

    `error` is None if the file is copied. `visible`: the object exists although the file failed.
    `orphans`: uploads remain whose id the client never learned.
    """

    name: str
    kind: Kind
    operations: Sequence[str]
    error: type[Exception] | None = None
    options: Mapping[str, Any] = field(default_factory=dict)
    settings: Mapping[str, Any] = field(default_factory=dict)
    visible: bool = False
    orphans: bool = False

    def patient_settings(self) -> Iterator[Mapping[str, Any]]:
        """Yield the row's settings; for a stall, with longer and longer timeouts.

        On a busy machine another request may time out before the one that stalls.
        """
        for seconds in PATIENCE if self.kind == "stall" else ():
            patience = dict.fromkeys(("stall_timeout", "reply_timeout", "complete_timeout"), seconds)
            yield {**self.settings, **patience}
        if self.kind != "stall":
            yield self.settings

    def faults(self, mode: str, times: list[int] | None) -> list[Fault]:
        """Return the rules for one mode; an empty list if the mode does not send such requests."""
        return [
            Fault(self.kind, operation, times=times, **self.options)
            for operation in self.operations
            if operation in OF_MODE[mode]
        ]


def loop_name() -> str:
    """Return the library of asyncio's loops. A bucket is created once for each."""
    return asyncio.new_event_loop.__module__.partition(".")[0]


def refused(status: int, code: str, **more: Any) -> dict[str, Any]:
    return {"status": status, "code": code, **more}


ONCE = [
    Row("500 InternalError", "refuse", EVERY, options=refused(500, "InternalError")),
    Row("503 SlowDown", "refuse", EVERY, options=refused(503, "SlowDown")),
    Row("429, Retry-After: 1", "refuse", WRITE, options=refused(429, "TooManyRequests", retry_after=1)),
    Row("400 RequestTimeout", "refuse", EVERY, options=refused(400, "RequestTimeout")),
    Row("reset before the body", "reset", EVERY),
    Row("reset in the request body", "reset-body", WRITE),
    Row("reset in the reply body", "reset-body", GET),
    Row("reply body truncated", "truncate", GET),
    Row("stall in the reply body", "stall", GET, options=FOR_EVER, settings=OFTEN),
    Row("stall in the upload", "stall", WRITE, options=FOR_EVER, settings=OFTEN),
    Row("stall of Complete", "stall", COMPLETE, options=FOR_EVER, settings=OFTEN),
    Row("slow body", "slow", GET + WRITE, options={"bytes_per_second": 16e6}),
    Row("wrong byte in the reply", "wrong-byte", GET),
    Row("wrong byte in the upload", "wrong-byte", WRITE),
    Row("error in Complete's 200", "error-in-200", COMPLETE),
    Row("lost reply of GET", "lost-reply", GET),
    Row("lost reply of PUT", "lost-reply", PUT),
    Row("lost reply of UploadPart", "lost-reply", PART),
    # Only the lost reply had the upload's id. The upload remains, and the result reports it.
    Row("lost reply of Create", "lost-reply", CREATE, orphans=True),
    Row("lost reply of Complete", "lost-reply", COMPLETE),
    # Without a checksum the client cannot tell that the object is the copy, so it copies again.
    Row("lost reply of Complete, unverified", "lost-reply", COMPLETE, settings={"verify": "off"}),
    Row("400 ExpiredToken", "refuse", GET + WRITE, options=refused(400, "ExpiredToken")),
    Row("404 NoSuchUpload of a part", "refuse", PART, options=refused(404, "NoSuchUpload")),
    Row("404 NoSuchUpload at Complete", "refuse", COMPLETE, options=refused(404, "NoSuchUpload")),
    Row("409 conflict of PUT", "refuse", PUT, options=refused(409, "ConditionalRequestConflict")),
    Row("409 conflict at Complete", "refuse", COMPLETE, options=refused(409, "ConditionalRequestConflict")),
]
ALWAYS = [
    *(
        Row(f"500 InternalError: {what}", "refuse", which, ServiceBusy, refused(500, "InternalError"))
        for what, which in {"GET": GET, "write": WRITE, "Create": CREATE, "Complete": COMPLETE}.items()
    ),
    Row("503 SlowDown: write", "refuse", WRITE, SlowDown, refused(503, "SlowDown")),
    # Longer than the client waits: the file fails at once.
    Row("429, Retry-After: 3600", "refuse", WRITE, SlowDown, refused(429, "Busy", retry_after=3600)),
    Row("400 RequestTimeout: write", "refuse", WRITE, ServiceBusy, refused(400, "RequestTimeout")),
    *(
        Row(f"reset before the body: {what}", "reset", which, ConnectionFailed)
        for what, which in {"GET": GET, "write": WRITE, "Create": CREATE, "Complete": COMPLETE}.items()
    ),
    Row("reset in the request body", "reset-body", WRITE, ConnectionFailed),
    Row("reset in the reply body", "reset-body", GET, ConnectionFailed),
    Row("reply body truncated", "truncate", GET, ConnectionFailed),
    Row("stall in the reply body", "stall", GET, ConnectionFailed, FOR_EVER, {"max_attempts": 1}),
    Row("stall in the upload", "stall", WRITE, ConnectionFailed, FOR_EVER, {"max_attempts": 1}),
    Row("wrong byte in the reply", "wrong-byte", GET, ChecksumMismatch),
    Row("wrong byte in the upload", "wrong-byte", WRITE, ChecksumMismatch),
    *(
        Row(f"418: {what}", "refuse", which, S3Error, refused(418, "ImATeapot"))
        for what, which in {"GET": GET, "write": WRITE, "Create": CREATE, "Complete": COMPLETE}.items()
    ),
    Row("error in Complete's 200", "error-in-200", COMPLETE, ServiceBusy),
    Row("lost reply of GET", "lost-reply", GET, ConnectionFailed),
    # S3 wrote the object, but the client received no reply.
    Row("lost reply of PUT", "lost-reply", PUT, ConnectionFailed, visible=True),
    Row("lost reply of UploadPart", "lost-reply", PART, ConnectionFailed),
    Row("lost reply of Create", "lost-reply", CREATE, ConnectionFailed, orphans=True),
    Row("400 ExpiredToken: GET", "refuse", GET, CredentialsExpired, refused(400, "ExpiredToken")),
    Row("400 ExpiredToken: write", "refuse", WRITE, CredentialsExpired, refused(400, "ExpiredToken")),
    Row("404 NoSuchUpload of a part", "refuse", PART, UploadGone, refused(404, "NoSuchUpload")),
    Row("404 NoSuchUpload at Complete", "refuse", COMPLETE, UploadGone, refused(404, "NoSuchUpload")),
    Row("409 conflict of PUT", "refuse", PUT, WriteConflict, refused(409, "ConditionalRequestConflict")),
    Row(
        "409 conflict at Complete",
        "refuse",
        COMPLETE,
        WriteConflict,
        refused(409, "ConditionalRequestConflict"),
    ),
]


def cells(rows: Sequence[Row]) -> list[Any]:
    """Return each fault with each mode in which it can happen."""
    return [
        pytest.param(row, mode, id=f"{row.name}-{mode}")
        for row in rows
        for mode in MODES
        if row.faults(mode, None)
    ]


@pytest.fixture(scope="module")
def kept_sessions() -> Iterator[dict[Any, TransferSession]]:
    """Sessions of this file only: other tests count requests and must not find broken connections."""
    sessions: dict[Any, TransferSession] = {}
    yield sessions
    for kept in sessions.values():
        kept.close()


class File:
    """The file of a test: its versions, and checks of its copy."""

    def __init__(self, lab: LabS3, bucket: Bucket, size: int) -> None:
        self.lab = lab
        self.bucket = bucket
        lab.declare(bucket.name, [("in/file", size)])
        self.size = size
        self.versions = [self.stored("in/file")]
        self.pairs = [(S3Object(bucket.name, "in/file"), S3Object(bucket.name, "copies/file"))]

    def stored(self, key: str) -> tuple[int, str | None] | None:
        """Return size and checksum of the object under a key; None if there is none."""
        found = self.lab.checksums(self.bucket.name, key).get(key)
        return found and (found.size, found.crc64nvme)

    def check(self, result: FileResult, *, visible: bool, orphans: bool = False) -> None:
        """Check that the copy is one whole version of the source or absent, and that no upload remains."""
        self.lab.set_faults([])
        assert self.stored("copies/file") in ([*self.versions, self.stored("in/file")] if visible else [None])
        assert set(self.bucket.uploads()) == ({"copies/file"} if orphans else set())
        assert (result.upload_left is not None) == orphans
        assert (result.status, result.bytes) == (("failed", 0) if result.error else ("copied", self.size))


@pytest.mark.parametrize(("row", "mode"), cells(ONCE))
def test_what_goes_wrong_once_is_overcome(
    copy: Copy, lab: LabS3, bucket: Bucket, fault_table: FaultRecord, engine: EngineName, row: Row, mode: str
) -> None:
    """The fault happens once at each of its operations, all in one copy."""
    file = File(lab, bucket, SIZE[mode])
    lab.set_faults(row.faults(mode, times=[1]))
    settings = next(row.patient_settings())
    [result] = copy(file.pairs, multipart=mode == "multipart", **settings).files
    fault_table.record(f"{row.name}, once", mode, engine, result.error)
    assert result.error is None
    assert set(lab.faults_struck()) == {1}
    file.check(result, visible=True, orphans=row.orphans)


@pytest.mark.parametrize(("row", "mode"), cells(ALWAYS))
def test_a_lasting_fault_ends_in_its_error_and_leaves_nothing(
    copy: Copy, lab: LabS3, bucket: Bucket, fault_table: FaultRecord, engine: EngineName, row: Row, mode: str
) -> None:
    file = File(lab, bucket, SIZE[mode])
    for settings in row.patient_settings():
        lab.set_faults(row.faults(mode, times=None))
        [result] = copy(file.pairs, multipart=mode == "multipart", **settings).files
        if all(lab.faults_struck()):
            break
    fault_table.record(f"{row.name}, always", mode, engine, result.error)
    assert row.error is not None
    assert isinstance(result.error, row.error)
    assert getattr(result.error, "__notes__", []) == ([result.upload_left] if row.orphans else [])
    assert all(lab.faults_struck())
    file.check(result, visible=row.visible, orphans=row.orphans)


@pytest.mark.parametrize(("times", "often"), [([1], "once"), (None, "always")], ids=["once", "always"])
@pytest.mark.parametrize(
    "row",
    [
        # A HEAD's reply has no body that could name the error.
        Row("HEAD: 503", "refuse", HEAD, ServiceBusy, refused(503, "SlowDown")),
        Row("HEAD: reset", "reset", HEAD, ConnectionFailed),
        Row("HEAD: stall", "stall", HEAD, ConnectionFailed, FOR_EVER, {"max_attempts": 2}),
        Row("HEAD: lost reply", "lost-reply", HEAD, ConnectionFailed),
    ],
    ids=lambda row: row.name,
)
def test_a_head_for_a_checksum_is_retried_like_any_request(
    copy: Copy,
    lab: LabS3,
    bucket: Bucket,
    fault_table: FaultRecord,
    engine: EngineName,
    row: Row,
    times: list[int] | None,
    often: str,
) -> None:
    """The pipeline sends HEAD for a file whose size came from a listing and which it reads in ranges."""
    file = File(lab, bucket, SIZE["multipart"])
    files = [(S3Prefix(bucket.name, "in/"), S3Prefix(bucket.name, "copies/"))]
    for settings in row.patient_settings():
        lab.set_faults([Fault(row.kind, "HeadObject", times=times, **row.options)])
        [result] = copy(files, multipart=True, **settings).files
        if all(lab.faults_struck()) and (times is None or result.error is None):
            break
    fault_table.record(f"{row.name}, {often}", "multipart", engine, result.error)
    assert isinstance(result.error, row.error or Exception) if times is None else result.error is None
    assert all(lab.faults_struck())
    file.check(result, visible=result.error is None)


@pytest.mark.parametrize("mode", MODES)
def test_an_overwritten_source_is_copied_as_it_was_or_fails(
    copy: Copy, lab: LabS3, bucket: Bucket, fault_table: FaultRecord, engine: EngineName, mode: str
) -> None:
    """Something overwrites the source while the engine reads it.

    S3 sends the rest of a running body from the old version, and refuses later requests.
    """
    file = File(lab, bucket, SIZE[mode])
    lab.set_faults([Fault("overwrite-source", "GetObject", times=[1], at=0.1)])
    [result] = copy(file.pairs, multipart=mode == "multipart", max_concurrency=1).files
    fault_table.record("source overwritten half-way", mode, engine, result.error)
    assert lab.faults_struck() == [1]
    assert file.stored("in/file") not in file.versions
    expected = {"single PUT": type(None), "multipart": SourceChanged}[mode]
    assert isinstance(result.error, expected)
    assert file.stored("copies/file") == (None if result.error else file.versions[0])
    file.check(result, visible=result.error is None)


@pytest.mark.parametrize("mode", MODES)
def test_a_broken_body_is_not_resumed_from_another_version(
    copy: Copy, lab: LabS3, bucket: Bucket, fault_table: FaultRecord, engine: EngineName, mode: str
) -> None:
    """Between the two requests, a version of the same size replaces the source."""
    file = File(lab, bucket, SIZE[mode])
    lab.set_faults([Fault("truncate", "GetObject", times=[1], at=0.1)])
    overwritten: list[str] = []

    def overwrite(event: Event) -> None:
        if isinstance(event, PartRetried) and not overwritten:
            overwritten.append(bucket.put("in/file", bytes(SIZE[mode])))

    [result] = copy(file.pairs, overwrite, multipart=mode == "multipart", max_concurrency=1).files
    fault_table.record("source overwritten, then its body broke", mode, engine, result.error)
    assert isinstance(result.error, SourceChanged)
    assert lab.faults_struck() == [1]
    file.check(result, visible=False)


@pytest.mark.parametrize("mode", MODES)
def test_connections_lost_while_frozen_are_reopened(
    copy: Copy, lab: LabS3, bucket: Bucket, fault_table: FaultRecord, engine: EngineName, mode: str
) -> None:
    file = File(lab, bucket, SIZE[mode])
    copy(file.pairs, multipart=mode == "multipart").raise_for_failures()
    bucket.client.delete_object(Bucket=bucket.name, Key="copies/file")
    assert lab.cut_connections() > 0
    [result] = copy(file.pairs, multipart=mode == "multipart", max_attempts=1).files
    fault_table.record("frozen between two transfers", mode, engine, result.error)
    assert result.error is None
    file.check(result, visible=True)


@pytest.mark.parametrize("mode", MODES)
def test_connections_cut_mid_transfer_are_reopened(
    copy: Copy, lab: LabS3, bucket: Bucket, fault_table: FaultRecord, engine: EngineName, mode: str
) -> None:
    file = File(lab, bucket, SIZE[mode])
    cut: list[int] = []

    def cut_once(event: Event) -> None:
        if isinstance(event, BytesMoved) and not cut:
            cut.append(True)
            cut.append(lab.cut_connections())

    [result] = copy(file.pairs, cut_once, multipart=mode == "multipart").files
    fault_table.record("all connections cut in mid-transfer", mode, engine, result.error)
    assert cut[1] > 0
    assert result.error is None
    file.check(result, visible=True)


def test_an_unread_empty_body_leaves_its_connection_usable(
    copy: Copy, lab: LabS3, bucket: Bucket, engine: EngineName
) -> None:
    """The next request uses the same connection.

    Otherwise the client sends it, misses the reply and sends it again: with Create, that leaves an upload.
    """
    file = File(lab, bucket, 0)
    lab.set_faults([Fault("refuse", "PutObject", times=[1])])
    before = lab.stats()["operations"].get("GetObject", 0)
    report = copy(file.pairs)
    report.raise_for_failures()
    assert report.requests == {"GetObject": 2, "PutObject": 2}
    assert lab.stats()["operations"]["GetObject"] - before == 2


@pytest.mark.parametrize("mode", MODES)
def test_an_endpoint_that_refuses_connections_fails_the_file(
    server: S3Server, fault_table: FaultRecord, engine: EngineName, mode: str
) -> None:
    config = TransferConfig(retry_base_delay=0.001, multipart=mode == "multipart")
    with TransferSession(engine, endpoint_url=f"http://127.0.0.1:{free_port()}") as session:
        [result] = session.transfer([(S3Object("bucket", "in"), S3Object("bucket", "out"))], config).files
    fault_table.record("connection refused, always", mode, engine, result.error)
    assert isinstance(result.error, ConnectionFailed)
    assert result.attempts == config.max_attempts


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("always", [False, True])
def test_a_name_that_is_not_resolved_is_asked_for_again(
    server: S3Server,
    lab: LabS3,
    fault_table: FaultRecord,
    engine: EngineName,
    mode: str,
    always: bool,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # With underscores, the bucket's name cannot become part of the host name, as other names would here.
    bucket = f"{engine}_{loop_name()}_{mode.replace(' ', '_')}_{always}"
    lab.create_bucket(bucket, keep=True)
    lab.declare(bucket, [("in", SIZE[mode])])
    endpoint = server.endpoint_url.replace("127.0.0.1", "s3.lab.invalid")
    resolve, asked = socket.getaddrinfo, []

    def unreliable(host: str | bytes, *arguments: Any, **options: Any) -> Any:
        if host not in (b"s3.lab.invalid", "s3.lab.invalid"):
            return resolve(host, *arguments, **options)
        asked.append(host)
        if always or len(asked) == 1:
            raise socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution")
        return resolve("127.0.0.1", *arguments, **options)

    monkeypatch.setattr(socket, "getaddrinfo", unreliable)
    config = TransferConfig(retry_base_delay=0.001, multipart=mode == "multipart", part_size=5 * MiB)
    pair = S3Object(bucket, "in"), S3Object(bucket, "out")
    with TransferSession(engine, endpoint_url=endpoint) as session:
        [result] = session.transfer([pair], config).files
    fault_table.record(f"name not resolved, {'always' if always else 'once'}", mode, engine, result.error)
    if always:
        assert isinstance(result.error, ConnectionFailed)
        assert result.attempts == config.max_attempts
    else:
        assert result.error is None
        assert lab.checksums(bucket)["out"].crc64nvme == lab.checksums(bucket)["in"].crc64nvme


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize(("rate", "seed"), [(0.25, 1), (0.25, 2), (0.7, 3), (0.7, 4)])
def test_many_faults_leave_every_file_whole_or_absent(
    copy: Copy, server: S3Server, lab: LabS3, engine: EngineName, mode: str, rate: float, seed: int
) -> None:
    """Many files are copied while many of their requests fail."""
    # The same name each time: the request's contents decide which requests fail.
    bucket = Bucket(server.client, f"faults-{seed}-{engine}-{loop_name()}-{mode.replace(' ', '-').lower()}")
    sizes = [0, 1, 1000, 64 * KiB, 64 * KiB + 1, 1 * MiB, 5 * MiB, 5 * MiB + 1, 6 * MiB, 11 * MiB]
    lab.declare(bucket.name, [(f"in/{size}", size) for size in sizes])
    # Without the faults that take seconds.
    lab.set_faults([fault for fault in mix(rate) if fault.kind != "stall" and not fault.retry_after], seed)
    files = [(S3Object(bucket.name, f"in/{size}"), S3Object(bucket.name, f"copies/{size}")) for size in sizes]
    report = copy(files, multipart=mode == "multipart")
    assert sum(lab.faults_struck()) > 0
    lab.set_faults([])
    stored = lab.checksums(bucket.name)
    for result in report.files:
        source, copied = stored[key_of(result.source)], stored.get(key_of(result.destination))
        assert copied is not None or result.error
        assert copied is None or (copied.size, copied.crc64nvme) == (source.size, source.crc64nvme)
    # Aborts fail as well, sometimes four times in a row: the files' errors then say so.
    told = {
        key_of(file.destination)
        for file in report.failed
        if "could not be aborted" in "".join(getattr(file.error, "__notes__", ()))
    }
    assert set(bucket.uploads()) <= told
