"""A page or a silence in place of S3 is named at once, with what to do, on every engine."""

import pytest

from asyncstream import ConfigError, S3Error
from asyncstream.errors import AsyncstreamError, ConnectionFailed, ReplyTimeout, ServiceBusy
from tests.servers.blocking_page import Silent, page
from tests.servers.listener import Scripted
from tests.servers.odd_s3 import honest

from .aws_settings import ROLE, SECRET, SSO, AwsSettings, Fail


@pytest.mark.parametrize("service", ["S3", "STS", "SSO", "proxy"])
def test_a_page_of_403_is_not_a_missing_permission(
    fail: Fail, aws: AwsSettings, blocked: Scripted, service: str
) -> None:
    access = {}
    if service == "STS":
        aws.set("AWS_ENDPOINT_URL_STS", blocked.url)
        access["role_arn"] = ROLE
    elif service == "SSO":
        aws.profile(SSO)
        aws.token("2999-01-01T00:00:00Z")
        aws.set("AWS_ENDPOINT_URL_SSO", blocked.url)
    elif service == "proxy":
        aws.set("HTTP_PROXY", blocked.url)

    error = fail(access, endpoint="http://s3.test" if service == "proxy" else None)

    assert type(error) is S3Error
    assert "something between answered" in str(error)
    assert "'Blocked by the office Ask IT" in str(error)
    assert "needs s3:" not in str(error)
    assert len(blocked.asked) == 1


def test_a_page_without_a_body_is_no_permission_either(fail: Fail, blocked: Scripted) -> None:
    """A HEAD's reply has no body: its headers show that it is not of S3."""
    error = fail(if_exists="skip")

    assert type(error) is S3Error
    assert "text/html" in str(error)
    assert [head.partition(" ")[0] for head in blocked.asked] == ["head"]


@pytest.mark.parametrize(
    ("status", "kind", "words", "tries"),
    [
        ("403 Forbidden", ConfigError, "answered 403 when it was asked to connect. Let the proxy allow", 1),
        ("407 Proxy Authentication Required", ConfigError, "asks for a user and a password", 1),
        ("503 Service Unavailable", ConnectionFailed, "answered 503 when it was asked to connect", 4),
    ],
)
def test_a_proxy_that_does_not_connect_is_named(
    fail: Fail, aws: AwsSettings, status: str, kind: type[AsyncstreamError], words: str, tries: int
) -> None:
    with Scripted(lambda _: page(status)) as proxy:
        aws.set("HTTPS_PROXY", proxy.url.replace("//", f"//user:{SECRET}@"))
        error = fail(endpoint="https://s3.test", tries=tries)

    assert type(error) is kind
    assert words in str(error)
    assert len(proxy.asked) == tries


@pytest.mark.parametrize("proxy", [f"http://user:{SECRET}/@localhost:1", f"user:{SECRET} x@@@::"])
def test_a_proxy_that_cannot_be_parsed_is_not_quoted(fail: Fail, aws: AwsSettings, proxy: str) -> None:
    aws.set("HTTPS_PROXY", proxy)

    error = fail(endpoint="https://s3.test")

    assert type(error) is ConfigError
    assert "the URL of the proxy" in str(error)


def test_a_page_of_503_is_tried_again(fail: Fail, aws: AwsSettings) -> None:
    with Scripted(lambda _: page("503 Service Unavailable")) as busy:
        error = fail(endpoint=busy.url, tries=4)

    assert isinstance(error, ServiceBusy)
    assert "something between answered 503" in str(error)
    assert len(busy.asked) == 4


def test_a_page_in_place_of_an_object_is_told(fail: Fail, aws: AwsSettings) -> None:
    with Scripted(lambda _: page("200 OK")) as hotel:
        error = fail(endpoint=hotel.url)

    assert type(error) is S3Error
    assert "something between answered 200" in str(error)


@pytest.mark.parametrize("token", [f"{SECRET}\n", f"x\n{SECRET}"])
def test_a_token_with_a_line_break_is_not_quoted(
    fail: Fail, aws: AwsSettings, blocked: Scripted, token: str
) -> None:
    aws.set("AWS_SESSION_TOKEN", token)

    error = fail()

    assert type(error) is ConfigError
    assert "line break" in str(error)
    assert blocked.asked == []


def test_an_endpoint_with_a_password_is_not_quoted(fail: Fail, blocked: Scripted) -> None:
    error = fail(endpoint=blocked.url.replace("//", f"//user:{SECRET}@"))

    assert type(error) is ConfigError
    assert "access_key_id" in str(error)
    assert blocked.asked == []


@pytest.mark.parametrize(
    ("scheme", "first", "kind", "setting"),
    [
        ("http", b"", ReplyTimeout, "Raise reply_timeout"),
        ("https", b"", ConnectionFailed, "Raise stall_timeout"),
        ("http", honest(100)("")[:-50], ConnectionFailed, "Raise stall_timeout"),
    ],
    ids=["reply", "handshake", "body"],
)
def test_a_silent_server_names_the_setting_to_raise(
    fail: Fail, scheme: str, first: bytes, kind: type[AsyncstreamError], setting: str
) -> None:
    with Silent(first) as server:
        error = fail(
            endpoint=f"{scheme}://{server.url}", stall_timeout=0.5, reply_timeout=1.0, max_attempts=1
        )

    assert type(error) is kind
    assert setting in str(error)


def test_https_to_a_server_without_tls_is_told(fail: Fail) -> None:
    with Silent(b"HTTP/1.1 400 Bad Request\r\n\r\n") as server:
        error = fail(endpoint=f"https://{server.url}")

    assert type(error) is ConfigError
    assert "does not speak TLS" in str(error)
    assert server.connections == 1


def test_a_silent_sts_names_the_setting_to_raise(fail: Fail, aws: AwsSettings, blocked: Scripted) -> None:
    """By themselves the SDKs would wait a minute, five times."""
    with Silent() as sts:
        aws.set("AWS_ENDPOINT_URL_STS", f"http://{sts.url}")
        error = fail({"role_arn": ROLE}, stall_timeout=0.5, reply_timeout=1.0, max_attempts=1)

    assert isinstance(error, ConnectionFailed)
    assert "reply_timeout" in str(error)
    assert (sts.connections, blocked.asked) == (1, [])


def test_an_sts_out_of_reach_is_asked_once_a_try(fail: Fail, aws: AwsSettings, blocked: Scripted) -> None:
    with Scripted(lambda _: b"") as sts:
        aws.set("AWS_ENDPOINT_URL_STS", sts.url)
        error = fail({"role_arn": ROLE}, tries=3, max_attempts=2)

    assert isinstance(error, ConnectionFailed)
    assert (len(sts.asked), blocked.asked) == (3, [])


def test_a_proxy_without_tls_is_told(fail: Fail, aws: AwsSettings) -> None:
    with Silent(b"HTTP/1.1 400 Bad Request\r\n\r\n") as proxy:
        aws.set("HTTPS_PROXY", f"https://{proxy.url}")
        error = fail(endpoint="https://s3.test")

    assert type(error) is ConfigError
    assert "does not speak TLS" in str(error)
    assert proxy.connections == 1
