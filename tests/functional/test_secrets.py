"""Secrets, such as credentials and encryption keys, never reach a log, an error, a repr or a result."""

import logging
import traceback
from base64 import b64encode
from collections.abc import Callable, Iterator
from hashlib import md5
from typing import Any

import pytest

from asyncstream import (
    ConfigError,
    Event,
    MiB,
    S3Object,
    S3Prefix,
    TransferConfig,
    TransferReport,
    TransferSession,
)
from asyncstream.engines import ENGINES, EngineName
from asyncstream.errors import AccessDenied, AsyncstreamError, BucketNotFound
from asyncstream.events.direct_reply import file_reply, reply_to, report_document
from asyncstream.events.handler_replies import Invoked, problem
from tests.servers import Bucket, LabServer, content
from tests.servers.lab import DENIED_ACCESS_KEY

Transfers = Callable[..., TransferSession]

SECRET_KEY = "SecretAccessKeyThatNobodyMaySee0123456789"
TOKEN = "SessionTokenThatNobodyMaySee0123456789"
CUSTOMER_KEY = "CustomerKeyThatMustStaySecret012"  # 32 bytes, as AES256 requires
COPY_SOURCE_KEY = "SourceKeyThatMustStaySecret01234"
SECRETS = {
    "secret access key": SECRET_KEY,
    "session token": TOKEN,
    "SSE-C key": CUSTOMER_KEY,
    "SSE-C key in base64": b64encode(CUSTOMER_KEY.encode()).decode(),
    "SSE-C key's MD5": b64encode(md5(CUSTOMER_KEY.encode()).digest()).decode(),
    "source's SSE-C key": COPY_SOURCE_KEY,
    "source's SSE-C key in base64": b64encode(COPY_SOURCE_KEY.encode()).decode(),
    "signature": "AWS4-HMAC-SHA256",
    "signature's place": "Signature=",
}
WITH_KEYS = {
    "SSECustomerAlgorithm": "AES256",
    "SSECustomerKey": CUSTOMER_KEY,
    "CopySourceSSECustomerAlgorithm": "AES256",
    "CopySourceSSECustomerKey": COPY_SOURCE_KEY,
}
LARGE = 6 * MiB


def found_in(*texts: str) -> set[str]:
    return {name for name, secret in SECRETS.items() for text in texts if secret in text}


def chain(error: BaseException | None) -> list[BaseException]:
    """Return an error and the errors that caused it."""
    seen = []
    while error is not None and error not in seen:
        seen.append(error)
        error = error.__cause__ or error.__context__
    return seen


def said(error: BaseException) -> list[str]:
    """Return all texts of an error that printing or logging it can show."""
    texts = ["".join(traceback.format_exception(error))]
    for one in chain(error):
        texts += [str(one), repr(one), repr(one.args), *getattr(one, "__notes__", ())]
    return texts


@pytest.fixture(params=["AKIATESTING", DENIED_ACCESS_KEY])
def access_key(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def credentials_of(credentials: None, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    def use(access_key: str) -> None:
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", access_key)
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET_KEY)
        monkeypatch.setenv("AWS_SESSION_TOKEN", TOKEN)

    return use


@pytest.fixture
def bucket(lab_server: LabServer) -> Iterator[Bucket]:
    bucket = lab_server.new_bucket()
    bucket.put("in/small", content(20_000))
    bucket.put("in/large", content(LARGE))
    yield bucket
    bucket.empty()


@pytest.fixture
def transfers(
    lab_server: LabServer,
    bucket: Bucket,
    credentials_of: Callable[[str], None],
    caplog: pytest.LogCaptureFixture,
) -> Iterator[Transfers]:
    """Open sessions with credentials of their own, and capture everything logged below `asyncstream`."""
    caplog.set_level(logging.DEBUG, logger="asyncstream")
    sessions = []

    def open_session(engine: EngineName, access_key: str = "AKIATESTING") -> TransferSession:
        credentials_of(access_key)
        sessions.append(TransferSession(engine, endpoint_url=lab_server.endpoint_url))
        return sessions[-1]

    yield open_session
    for session in sessions:
        session.close()


def configured(**settings: Any) -> TransferConfig:
    defaults = {"part_size": 5 * MiB, "multipart": True, "max_attempts": 2, "retry_base_delay": 0.001}
    return TransferConfig(extra_args=WITH_KEYS, **defaults | settings)


def pairs(bucket: Bucket, target_bucket: str | None = None) -> list[tuple[S3Object, S3Object]]:
    return [
        (S3Object(bucket.name, f"in/{key}"), S3Object(target_bucket or bucket.name, f"out/{key}"))
        for key in ("small", "large")
    ]


def assert_no_secrets(
    report: TransferReport,
    events: list[Event],
    caplog: pytest.LogCaptureFixture,
    capfd: pytest.CaptureFixture[str],
) -> None:
    texts = [repr(report), repr(report.files), report_document(report).decode(), repr(events)]
    texts += [repr(reply_to(report, Invoked("request", 0.0), "s3://bucket/report"))]
    texts += [repr(file_reply(file)) for file in report.files]
    for file in report.files:
        texts += said(file.error) if file.error is not None else []
        texts += [str(file), repr(file.continuation)]
    ours = [record for record in caplog.records if record.name.startswith("asyncstream")]
    texts += [logging.Formatter().format(record) for record in ours]
    texts += capfd.readouterr()
    assert found_in(*texts) == set()


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize(
    "settings", [{}, {"verify": "off"}, {"if_exists": "skip"}, {"multipart": False}], ids=str
)
def test_a_transfer_that_succeeds_tells_no_secret(
    transfers: Transfers,
    bucket: Bucket,
    engine: EngineName,
    settings: dict[str, Any],
    caplog: pytest.LogCaptureFixture,
    capfd: pytest.CaptureFixture[str],
) -> None:
    events: list[Event] = []
    report = transfers(engine).transfer(pairs(bucket), configured(**settings), events.append)

    report.raise_for_failures()
    assert bucket.get("out/large") == content(LARGE)
    assert_no_secrets(report, events, caplog, capfd)


@pytest.mark.parametrize("engine", ENGINES)
def test_a_bucket_that_is_not_there_tells_no_secret(
    transfers: Transfers,
    bucket: Bucket,
    engine: EngineName,
    caplog: pytest.LogCaptureFixture,
    capfd: pytest.CaptureFixture[str],
) -> None:
    events: list[Event] = []
    report = transfers(engine).transfer(pairs(bucket, "no-such-bucket"), configured(), events.append)

    assert [type(file.error) for file in report.files] == [BucketNotFound] * 2
    assert_no_secrets(report, events, caplog, capfd)


@pytest.mark.parametrize("engine", ENGINES)
def test_a_key_that_is_denied_tells_no_secret(
    transfers: Transfers,
    bucket: Bucket,
    engine: EngineName,
    caplog: pytest.LogCaptureFixture,
    capfd: pytest.CaptureFixture[str],
) -> None:
    events: list[Event] = []
    session = transfers(engine, DENIED_ACCESS_KEY)
    report = session.transfer(pairs(bucket), configured(), events.append)

    assert [type(file.error) for file in report.files] == [AccessDenied] * 2
    assert_no_secrets(report, events, caplog, capfd)


@pytest.mark.parametrize("engine", ENGINES)
def test_a_destination_that_exists_tells_no_secret(
    transfers: Transfers,
    bucket: Bucket,
    engine: EngineName,
    caplog: pytest.LogCaptureFixture,
    capfd: pytest.CaptureFixture[str],
) -> None:
    for key in ("small", "large"):
        bucket.put(f"out/{key}", b"precious")
    report = transfers(engine).transfer(pairs(bucket), configured(if_exists="fail"))

    assert len(report.failed) == 2
    assert_no_secrets(report, [], caplog, capfd)


@pytest.mark.parametrize("engine", ENGINES)
def test_a_listing_that_is_denied_or_missing_tells_no_secret(
    transfers: Transfers,
    bucket: Bucket,
    engine: EngineName,
    caplog: pytest.LogCaptureFixture,
    capfd: pytest.CaptureFixture[str],
) -> None:
    for access_key, name in ((DENIED_ACCESS_KEY, bucket.name), ("AKIATESTING", "no-such-bucket")):
        session = transfers(engine, access_key)
        with pytest.raises(AsyncstreamError) as raised:
            session.transfer([(S3Prefix(name, "in/"), S3Prefix(bucket.name, "out/"))], configured())
        assert found_in(*said(raised.value), repr(problem(raised.value)), *capfd.readouterr()) == set()
    assert found_in(caplog.text) == set()


@pytest.mark.parametrize("engine", ENGINES)
def test_a_server_that_is_not_there_tells_no_secret(
    bucket: Bucket,
    credentials_of: Callable[[str], None],
    engine: EngineName,
    caplog: pytest.LogCaptureFixture,
    capfd: pytest.CaptureFixture[str],
) -> None:
    caplog.set_level(logging.DEBUG, logger="asyncstream")
    credentials_of("AKIATESTING")
    with TransferSession(engine, endpoint_url="http://127.0.0.1:1") as session:
        report = session.transfer(pairs(bucket), configured())

    assert len(report.failed) == 2
    assert_no_secrets(report, [], caplog, capfd)


@pytest.mark.parametrize(
    "wrong",
    [
        {"SSECustomerKey": {"key": CUSTOMER_KEY}},
        {"SSECustomerKey": [CUSTOMER_KEY]},
        {"SSECustomerKey": CUSTOMER_KEY, "Unknown": "x"},
        {"SSECustomerKey": CUSTOMER_KEY, "StorageClass": 3},
        {"SSECustomerKey": CUSTOMER_KEY, "Expires": "tomorrow"},
        [CUSTOMER_KEY],
        {1: CUSTOMER_KEY},
    ],
    ids=range(7),
)
def test_settings_that_are_refused_tell_no_secret(wrong: Any) -> None:
    with pytest.raises(ConfigError) as raised:
        TransferConfig(extra_args=wrong)
    # Only the messages are checked: the traceback quotes source lines of this test.
    texts = [text for one in chain(raised.value) for text in (str(one), repr(one))]
    assert found_in(*texts) == set()


@pytest.mark.parametrize(
    "text",
    [f'{{"SSECustomerKey": "{CUSTOMER_KEY}"', f'["{CUSTOMER_KEY}"]', CUSTOMER_KEY],
    ids=range(3),
)
def test_refused_environment_settings_reveal_no_secret(text: str) -> None:
    with pytest.raises(ConfigError) as raised:
        TransferConfig.from_env({"ASYNCSTREAM_EXTRA_ARGS": text})
    assert found_in(*(str(one) for one in chain(raised.value))) == set()


def test_a_config_shows_no_secret() -> None:
    config = configured()
    assert found_in(repr(config), str(config), f"{config!r:}") == set()
