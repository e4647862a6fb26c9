"""How the SDKs' clients are set up: the features that must be off, and the two shortcuts."""

import asyncio
import io
import json
import re
import socket
import threading
from collections.abc import Awaitable, Callable, Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

import botocore.auth
import botocore.session
import pytest
from botocore.stub import Stubber

from asyncstream.engines import EngineName
from asyncstream.errors import ConfigError, ConnectionFailed, ServiceBusy, WrongRegion
from asyncstream.pipeline.body import BytesBody
from asyncstream.ports import Transport
from asyncstream.s3 import open_transport
from asyncstream.s3.access import S3Access
from asyncstream.s3.client import prepare_session, sdk_options
from asyncstream.s3.settings import ClientSettings

TRANSPORTS = ("threads", "asyncio")


def settings_at(endpoint: str | None, stall_timeout: float = 4.0) -> ClientSettings:
    return ClientSettings(S3Access(endpoint_url=endpoint), 3, 2**18, stall_timeout, 60.0, 600.0)


SETTINGS = settings_at(None)


@pytest.fixture(autouse=True)
def _credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in (("ACCESS_KEY_ID", "x"), ("SECRET_ACCESS_KEY", "y"), ("DEFAULT_REGION", "us-east-1")):
        monkeypatch.setenv(f"AWS_{name}", value)
    monkeypatch.delenv("AWS_ENDPOINT_URL_S3", raising=False)


def with_transport(
    engine: EngineName, use: Callable[[Transport], Awaitable[Any]], settings: ClientSettings = SETTINGS
) -> Any:
    async def opened() -> Any:
        transport = await open_transport(engine, settings)
        try:
            return await use(transport)
        finally:
            await transport.close()

    return asyncio.run(opened())


@pytest.mark.parametrize("engine", TRANSPORTS)
def test_bodies_are_signed_without_awscrt_though_botocore_has_it(
    engine: EngineName, monkeypatch: pytest.MonkeyPatch
) -> None:
    """awscrt would copy them into memory, or fail because they cannot be rewound."""

    class SignsWithCrt:
        def __init__(self, *_: object) -> None:
            raise AssertionError("signed with awscrt")

    for version in ("v4", "s3v4"):
        monkeypatch.setitem(botocore.auth.AUTH_TYPE_MAPS, version, SignsWithCrt)
    params = {"Bucket": "raw", "Key": "a", "Body": BytesBody(b"x" * 300_000), "ContentLength": 300_000}

    with pytest.raises(ConnectionFailed):  # no server listens there, so signing came first
        with_transport(
            engine,
            lambda transport: transport.call("PutObject", params, None),
            settings_at("http://127.0.0.1:1"),
        )


@pytest.mark.parametrize("endpoint", ["localhost:9000", "not a url"])
@pytest.mark.parametrize("engine", TRANSPORTS)
def test_an_endpoint_that_is_none_is_a_config_error(engine: EngineName, endpoint: str) -> None:
    settings = settings_at(endpoint)

    async def nothing(_: Transport) -> None:
        """Do nothing: opening the transport fails first."""

    with pytest.raises(ConfigError, match=endpoint):
        with_transport(engine, nothing, settings)


def test_each_slot_has_a_connection_for_get_and_one_for_put() -> None:
    assert sdk_options(SETTINGS)["max_pool_connections"] == 2 * 3


def test_the_pipeline_alone_retries_and_a_stall_ends_each_wait() -> None:
    options = sdk_options(SETTINGS)

    assert options["retries"]["total_max_attempts"] == 1
    assert (options["connect_timeout"], options["read_timeout"]) == (4.0, 4.0)


def test_a_blocking_slot_takes_a_chunk_and_little_more() -> None:
    async def slot_bytes(transport: Transport) -> int:
        return transport.slot_bytes

    assert 2**18 < with_transport("threads", slot_bytes) < 2 * 2**18


@pytest.mark.parametrize(
    ("endpoint", "is_aws"),
    [
        (None, True),
        ("https://s3.cn-north-1.amazonaws.com.cn", True),
        ("https://bucket.vpce-1.s3.us-east-1.vpce.amazonaws.com", True),
        ("http://127.0.0.1:1", False),
        ("https://amazonaws.com.example", False),
        ("https://notamazonaws.com", False),
    ],
)
@pytest.mark.parametrize("engine", TRANSPORTS)
def test_aws_is_known_by_the_host(engine: EngineName, endpoint: str | None, is_aws: bool) -> None:
    async def known(transport: Transport) -> bool:
        return transport.is_aws

    assert with_transport(engine, known, settings_at(endpoint)) == is_aws


OBJECT = {"Bucket": "raw"}
PART = {"Bucket": "raw", "PartNumber": 1, "UploadId": "u"}


@pytest.mark.parametrize(
    ("method", "params", "varied"),
    [
        ("get_object", OBJECT, "Key"),
        ("put_object", OBJECT, "Key"),
        ("create_multipart_upload", OBJECT, "Key"),
        ("upload_part", PART, "Key"),
        ("list_objects_v2", OBJECT, "Prefix"),
    ],
)
@pytest.mark.parametrize("engine", TRANSPORTS)
def test_the_endpoint_is_resolved_once_a_bucket_not_once_a_key(
    engine: EngineName, method: str, params: dict[str, Any], varied: str
) -> None:
    async def evaluations(transport: Any) -> tuple[int, set[str]]:
        found = transport._client(None)
        client = await found if engine == "asyncio" else found
        rules = client._ruleset_resolver._provider.ruleset
        evaluate, count = rules.evaluate, 0

        def counted(parameters: Any) -> Any:
            nonlocal count
            count += 1
            return evaluate(parameters)

        rules.evaluate = counted
        urls = set()
        for bucket in ("raw", "other"):
            for number in range(100):
                signed = client.generate_presigned_url(
                    method, params | {"Bucket": bucket, varied: f"key-{number}"}
                )
                urls.add((await signed if engine == "asyncio" else signed).partition("&X-Amz")[0])
        return count, urls

    count, urls = with_transport(engine, evaluations)
    assert count == 2
    assert len(urls) == 200
    assert all("key-" in url for url in urls)


@pytest.mark.parametrize("service", ["s3", "sts", "sso", "sso-oidc"])
def test_a_lean_session_finds_the_same_endpoints_as_any_other(service: str) -> None:
    regions = ("us-east-1", "eu-central-1", "cn-north-1", "us-gov-west-1", "us-iso-east-1", "xx-newland-1")

    def found(session: Any) -> list[tuple[str, str, str]]:
        keys = {"aws_access_key_id": "x", "aws_secret_access_key": "y"}
        clients = [session.create_client(service, region, **keys) for region in regions]
        return [(each.meta.endpoint_url, each.meta.partition, each.meta.region_name) for each in clients]

    lean = botocore.session.get_session()
    prepare_session(lean, S3Access())

    assert found(lean) == found(botocore.session.get_session())


def test_no_endpoint_rule_looks_at_what_the_memo_leaves_out() -> None:
    """If a botocore update makes a rule read one, `prepare_client` must keep that parameter."""
    loader = botocore.session.get_session().get_component("data_loader")
    rules = json.dumps(loader.load_service_model("s3", "endpoint-rule-set-1")["rules"])

    looked_at = set(re.findall(r'"ref": "(\w+)"', rules)) | set(re.findall(r"\{(\w+)[}#]", rules))
    assert "Bucket" in looked_at
    assert looked_at & {"Key", "Prefix", "CopySource"} == set()


class Redirecting(BaseHTTPRequestHandler):
    """Redirects every request to another region, as S3 does: 301 has only a header, 307 also a Location."""

    protocol_version = "HTTP/1.1"
    status: int
    requests: list[str]

    def redirect(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.requests.append(f"{self.command} {len(body)}")
        code = {301: "PermanentRedirect", 307: "TemporaryRedirect"}[self.status]
        reply = f"<Error><Code>{code}</Code><Message>elsewhere</Message></Error>".encode()
        self.send_response(self.status)
        self.send_header("x-amz-bucket-region", "eu-west-1")
        self.send_header("Content-Length", str(len(reply)))
        self.send_header("Connection", "close")
        if self.status == 307:
            self.send_header("Location", "/elsewhere")
        self.end_headers()
        self.wfile.write(reply)

    do_GET = do_PUT = redirect  # noqa: N815

    def log_message(self, *args: object) -> None:
        """Log nothing."""


@pytest.fixture
def redirecting() -> Iterator[str]:
    Redirecting.requests = []
    with HTTPServer(("127.0.0.1", 0), Redirecting) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


@pytest.mark.parametrize("status", [301, 307])
@pytest.mark.parametrize(
    ("operation", "body", "request_"),
    [("GetObject", None, "GET 0"), ("PutObject", b"bytes", "PUT 5"), ("PutObject", BytesBody, "PUT 8")],
    ids=["GET", "PUT of bytes", "PUT of a stream"],
)
@pytest.mark.parametrize("engine", TRANSPORTS)
def test_a_redirect_is_left_to_us_and_not_followed(
    redirecting: str, engine: EngineName, operation: str, body: Any, request_: str, status: int
) -> None:
    Redirecting.status = status
    params: dict[str, Any] = {"Bucket": "raw", "Key": "a"}
    if body is not None:
        sent = body if isinstance(body, bytes) else BytesBody(b"streamed")
        params |= {"Body": sent, "ContentLength": int(request_.split()[1])}

    async def call(transport: Transport) -> None:
        await transport.call(operation, params, None)

    with pytest.raises(WrongRegion) as raised:
        with_transport(engine, call, settings_at(redirecting))
    assert raised.value.region == "eu-west-1"
    assert Redirecting.requests == [request_]


@pytest.mark.parametrize("engine", TRANSPORTS)
def test_a_server_that_is_not_there_is_a_connection_that_failed(engine: EngineName) -> None:
    settings = settings_at("http://127.0.0.1:1")

    async def call(transport: Transport) -> None:
        await transport.call("GetObject", {"Bucket": "raw", "Key": "a"}, None)

    with pytest.raises(ConnectionFailed, match="GetObject s3://raw/a"):
        with_transport(engine, call, settings)


class RefusingTheFirst(BaseHTTPRequestHandler):
    """Answers the first body before the client sends it, and keeps the connection open."""

    protocol_version = "HTTP/1.1"
    refused: bool

    def handle_expect_100(self) -> bool:
        if self.refused:
            return super().handle_expect_100()
        type(self).refused = True
        self.send_response(503)
        self.send_header("Content-Length", "0")
        self.end_headers()
        return False

    def do_PUT(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(200)
        self.send_header("ETag", '"whole"')
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *args: object) -> None:
        """Log nothing."""


def test_a_body_refused_unsent_leaves_a_usable_connection() -> None:
    RefusingTheFirst.refused = False

    async def put_twice(transport: Transport) -> Any:
        def params() -> dict[str, Any]:
            body = BytesBody(b"x" * 300_000)
            return {"Bucket": "raw", "Key": "a", "Body": body, "ContentLength": body.length}

        with pytest.raises(ServiceBusy):
            await transport.call("PutObject", params(), None)
        return await transport.call("PutObject", params(), None)

    with HTTPServer(("127.0.0.1", 0), RefusingTheFirst) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        settings = ClientSettings(
            S3Access(endpoint_url=f"http://127.0.0.1:{server.server_port}"), 1, 2**18, 4.0, 60.0, 600.0
        )
        try:
            reply = with_transport("threads", put_twice, settings)
        finally:
            server.shutdown()
            thread.join()
    assert reply["ETag"] == '"whole"'


def test_all_addresses_of_a_host_share_one_time_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    """The limit is that of one call.

    S3's names have up to eight addresses: a function without a route to S3 would wait for each.
    """
    granted: list[tuple[str, float]] = []

    def never_connects(address: Any, timeout: float, **_: Any) -> None:
        granted.append((address[0], timeout))
        raise TimeoutError

    addresses = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (f"192.0.2.{n}", 80)) for n in range(1, 5)]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: addresses)
    monkeypatch.setattr("urllib3.util.connection.create_connection", never_connects)

    async def call(transport: Transport) -> None:
        await transport.call("GetObject", {"Bucket": "Raw", "Key": "a"}, None, lambda: 3.0 - len(granted))

    with pytest.raises(ConnectionFailed):
        with_transport(
            "threads",
            call,
            settings_at("http://s3.invalid", 2.5),
        )
    assert granted == [("192.0.2.1", 2.5), ("192.0.2.2", 2.0), ("192.0.2.3", 1.0), ("192.0.2.4", 0.001)]


def test_a_stubbed_body_is_read_in_chunks() -> None:
    """botocore's Stubber and other mocks answer with bodies that no connection has brought."""
    content = bytes(2 * SETTINGS.chunk_size + 1)

    async def read(transport: Any) -> list[int]:
        with Stubber(transport._clients[None]) as stubber:
            stubber.add_response("get_object", {"Body": io.BytesIO(content)})
            reply = await transport.call("GetObject", {"Bucket": "files", "Key": "a"}, None)
        stream = transport.stream(reply["Body"], len(content))
        lengths = [len(await stream.read()) for _ in range(4)]
        await stream.close()
        assert reply["Body"].closed
        return lengths

    assert with_transport("threads", read) == [SETTINGS.chunk_size, SETTINGS.chunk_size, 1, 0]
