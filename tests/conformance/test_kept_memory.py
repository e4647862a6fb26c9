"""Failed files keep only their errors, as text: no frames, replies or connections."""

import gc
import json
import socket
import tracemalloc
from collections.abc import Iterator
from typing import Any

import pytest
from botocore.exceptions import ClientError

from asyncstream import KiB, S3Object, TransferConfig, TransferReport, TransferSession
from asyncstream.engines import EngineName
from asyncstream.errors import AccessDenied, ConnectionFailed, SourceNotFound, TransformError
from asyncstream.lab.s3 import LabS3
from asyncstream.pipeline.progress import Event, FileStarted, ignore
from tests.conformance import CLIENTS

FILES = 50
# Measured: 1.7 KB, including the growth of the SDKs' caches. It was 20 KB to 1 MB.
MAX_KEPT = 6_000


def raise_value_error(chunk: Any) -> bytes:
    raise ValueError("a bug of the user's")


def decode(chunk: Any) -> bytes:
    return json.dumps((b"\xff" + bytes(chunk)).decode()).encode()  # the error holds all bytes


def raise_key_error(event: Event) -> None:
    if isinstance(event, FileStarted):
        raise KeyError("a bug of the user's")


@pytest.fixture(scope="module")
def lab() -> Iterator[LabS3]:
    """A server for these tests only, because they count the sockets to it."""
    with LabS3() as lab:
        lab.create_bucket("raw", keep=True)
        lab.create_bucket("clean", keep=True)
        lab.declare_many("raw", "there/", FILES, 100 * KiB)
        yield lab


def failing(session: TransferSession, prefix: str, files: int = FILES, **options: Any) -> TransferReport:
    keys = [f"{prefix}/{number:06d}" for number in range(files)]
    pairs = [(S3Object("raw", key), S3Object("clean", key)) for key in keys]
    return session.transfer(pairs, TransferConfig(max_attempts=1), **options)


CASES: dict[str, tuple[type[Exception], dict[str, Any]]] = {
    "absent": (SourceNotFound, {"prefix": "absent"}),
    "denied": (AccessDenied, {"key": "AKIADENIED"}),
    "refused": (ConnectionFailed, {"url": "http://127.0.0.1:9"}),
    "transform": (TransformError, {"transform": raise_value_error}),
    "decoding": (TransformError, {"transform": decode}),
    "callback": (KeyError, {"on_event": raise_key_error}),
}


@pytest.mark.parametrize("case", CASES)
@pytest.mark.varied("case", engine=CLIENTS)
def test_a_failed_file_keeps_words_only(
    credentials: None, monkeypatch: pytest.MonkeyPatch, engine: EngineName, lab: LabS3, case: str
) -> None:
    kind, options = CASES[case]
    settings = {"prefix": "there", "on_event": ignore, **options}
    if key := settings.pop("key", None):
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", key)
    try:
        with TransferSession(engine, endpoint_url=settings.pop("url", lab.endpoint_url)) as session:
            failing(session, files=10, **settings)  # opens clients and fills caches
            gc.collect()
            tracemalloc.start()
            report = failing(session, **settings)
        # After closing: open connections have buffers of 1.2 MB in total, regardless of how many files fail.
        gc.collect()
        kept, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    assert {type(file.error) for file in report.failed} == {kind}
    assert report.count("failed") == FILES
    assert kept / FILES < MAX_KEPT


def test_the_sdks_error_stays_the_cause(credentials: None, engine: EngineName, lab: LabS3) -> None:
    with TransferSession(engine, endpoint_url=lab.endpoint_url) as session:
        [failed] = failing(session, "absent", files=1).failed

    assert failed.error is not None
    cause = failed.error.__cause__
    assert isinstance(cause, ClientError)
    assert cause.response["Error"]["Code"] == "NoSuchKey"
    assert set(cause.response["ResponseMetadata"]) == {"HTTPStatusCode", "RequestId"}
    assert failed.error.__traceback__ is cause.__traceback__ is None


def test_an_exception_of_a_callback_names_its_line(credentials: None, engine: EngineName, lab: LabS3) -> None:
    with TransferSession(engine, endpoint_url=lab.endpoint_url) as session:
        [failed] = failing(session, "there", files=1, on_event=raise_key_error).failed

    assert isinstance(failed.error, KeyError)
    line = raise_key_error.__code__.co_firstlineno + 2
    assert failed.error.__notes__ == [f"raised at {__file__}:{line} in raise_key_error"]


def test_no_socket_outlives_the_session_of_a_report(
    credentials: None, engine: EngineName, lab: LabS3
) -> None:
    """The garbage collector is off, because it may run late or never."""
    port = int(lab.endpoint_url.rpartition(":")[2])
    gc.collect()
    gc.disable()
    try:
        with TransferSession(engine, endpoint_url=lab.endpoint_url) as session:
            report = failing(session, "absent", files=20)
            assert _sockets_to(port)
        left = _sockets_to(port)
    finally:
        gc.enable()

    assert (report.count("failed"), left) == (20, [])


def _sockets_to(port: int) -> list[socket.socket]:
    sockets = [each for each in gc.get_objects() if isinstance(each, socket.socket) and each.fileno() >= 0]
    return [each for each in sockets if _peer_of(each) == port]


def _peer_of(connection: socket.socket) -> int:
    try:
        return int(connection.getpeername()[1])
    except (OSError, IndexError, ValueError):  # a listening socket, or one of another family
        return 0
