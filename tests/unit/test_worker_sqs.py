"""`SqsQueue`: what SQS answers, and which error of asyncstream it becomes."""

import ssl
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import trustme
from botocore.exceptions import ClientError
from botocore.stub import Stubber

from asyncstream.errors import (
    AccessDenied,
    AsyncstreamError,
    ConfigError,
    ConnectionFailed,
    CredentialsExpired,
    InputError,
    ServerNotTrusted,
    ServiceBusy,
    SlowDown,
)
from asyncstream.worker.messages import Message
from asyncstream.worker.sqs_queue import SqsQueue
from tests.servers.base import free_port
from tests.servers.tls import TlsServer

URL = "https://sqs.eu-west-1.amazonaws.com/111122223333/batches"
MESSAGE = Message("body", "handle", 1)


@pytest.fixture
def queue(credentials: None) -> Iterator[SqsQueue]:
    with closing(SqsQueue(URL)) as queue:
        yield queue


@pytest.fixture
def stubbed(queue: SqsQueue) -> Iterator[Stubber]:
    with Stubber(queue._client) as stubber:
        yield stubber
        stubber.assert_no_pending_responses()


@pytest.mark.parametrize(
    ("url", "region"),
    [
        (URL, "eu-west-1"),
        ("https://sqs.cn-north-1.amazonaws.com.cn/1/q", "cn-north-1"),
        ("https://eu-west-2.queue.amazonaws.com/1/q", "eu-west-2"),
        ("https://vpce-1-2.sqs.ap-south-1.vpce.amazonaws.com/1/q", "ap-south-1"),
        ("http://127.0.0.1:5000/1/sqs.eu-west-1.amazonaws.com", "us-east-1"),
    ],
)
def test_the_region_is_that_of_the_queue(credentials: None, url: str, region: str) -> None:
    """The last URL names no region, so that of the environment is used."""
    with closing(SqsQueue(url)) as queue:
        assert queue._client.meta.region_name == region


@pytest.mark.parametrize("host", ["127.0.0.1", "other.example"])
def test_a_server_is_verified_before_it_is_asked(
    credentials: None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, host: str
) -> None:
    """The first certificate is from an authority that is not trusted, the second one has another name."""
    authority, context = trustme.CA(), ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert(host).configure_cert(context)
    trusted = authority if host == "other.example" else trustme.CA()
    trusted.cert_pem.write_to_path(tmp_path / "ca.pem")
    monkeypatch.setenv("AWS_CA_BUNDLE", str(tmp_path / "ca.pem"))
    with (
        TlsServer(context, lambda _: b"") as server,
        closing(SqsQueue(URL, f"https://127.0.0.1:{server.port}")) as queue,
    ):
        with pytest.raises(ServerNotTrusted):
            queue.receive(60, 1)
        with pytest.raises(ServerNotTrusted):
            queue.send("body", {})
        assert server.heads == []


def test_a_poll_outlasts_its_wait(queue: SqsQueue) -> None:
    assert queue._polling.meta.config.read_timeout > 20


@pytest.mark.parametrize("url", ["", "batches", "arn:aws:sqs:eu-west-1:1:q", f"{URL}.fifo"])
def test_other_names_are_refused(url: str) -> None:
    with pytest.raises(InputError):
        SqsQueue(url)


def test_a_missing_certificate_file_is_named(credentials: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_CA_BUNDLE", "/nowhere.pem")
    with pytest.raises(ConfigError, match=r"AWS_CA_BUNDLE='/nowhere\.pem'"):
        SqsQueue(URL)


def test_no_connection_is_retryable(credentials: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("asyncstream.worker.sqs_queue._TRIES", 1)
    with closing(SqsQueue(URL, f"http://127.0.0.1:{free_port()}")) as queue:
        with pytest.raises(ConnectionFailed, match="DeleteMessage of the queue https://sqs"):
            queue.delete(MESSAGE)
        with pytest.raises(ConnectionFailed):
            queue.receive(60, 1)


@pytest.mark.parametrize(
    ("code", "status", "kind", "advice"),
    [
        ("AWS.SimpleQueueService.NonExistentQueue", 400, InputError, "name, its account and the region"),
        ("QueueDoesNotExist", 400, InputError, "name, its account and the region"),
        ("AccessDenied", 403, AccessDenied, "needs sqs:SendMessage"),
        ("AccessDeniedException", 400, AccessDenied, "needs sqs:SendMessage"),
        ("KMS.AccessDeniedException", 400, AccessDenied, "needs sqs:SendMessage"),
        ("RequestThrottled", 400, SlowDown, ""),
        ("OverLimit", 403, SlowDown, ""),
        ("ExpiredToken", 403, CredentialsExpired, ""),
        ("InternalError", 500, ServiceBusy, ""),
        ("InvalidClientTokenId", 403, ConfigError, "Check the keys"),
        ("InvalidMessageContents", 400, ConfigError, "Check the queue's settings"),
        ("ReceiptHandleIsInvalid", 400, ConfigError, "Check the queue's settings"),
    ],
)
def test_refusals_become_errors(
    queue: SqsQueue, stubbed: Stubber, code: str, status: int, kind: type[AsyncstreamError], advice: str
) -> None:
    stubbed.add_client_error("send_message", code, "said so", status)
    with pytest.raises(kind, match=f"said so.*{advice}") as raised:
        queue.send("body", {"reason": "why"})
    assert type(raised.value) is kind
    assert URL in str(raised.value)


@pytest.mark.parametrize(
    "code", ["ReceiptHandleIsInvalid", "InvalidParameterValue", "AWS.SimpleQueueService.MessageNotInflight"]
)
def test_a_message_of_others_is_no_error(queue: SqsQueue, stubbed: Stubber, code: str) -> None:
    stubbed.add_client_error("change_message_visibility", code, "gone", 400)
    stubbed.add_client_error("delete_message", code, "gone", 400)
    assert not queue.hide(MESSAGE, 60)
    queue.delete(MESSAGE)


def test_a_refusal_of_sts_names_it(queue: SqsQueue, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(**_: Any) -> None:
        raise ClientError({"Error": {"Code": "AccessDenied", "Message": "no"}}, "AssumeRole")

    monkeypatch.setattr(queue._client, "delete_message", refuse)
    with pytest.raises(ConfigError, match=r"AssumeRole was refused: AccessDenied no\. Check the role"):
        queue.delete(MESSAGE)


def test_messages_that_were_not_taken_are_sent_again(queue: SqsQueue, stubbed: Stubber) -> None:
    first = [{"Id": str(number), "MessageBody": f"body {number}"} for number in range(10)]
    failed = {"Id": "3", "SenderFault": False, "Code": "InternalError", "Message": "later"}
    stubbed.add_response("send_message_batch", _sent(failed), {"QueueUrl": URL, "Entries": first})
    stubbed.add_response("send_message_batch", _sent(), {"QueueUrl": URL, "Entries": [first[3]]})
    last = [{"Id": "0", "MessageBody": "body 10"}]
    stubbed.add_response("send_message_batch", _sent(), {"QueueUrl": URL, "Entries": last})
    slept: list[float] = []

    assert queue.send_all((f"body {number}" for number in range(11)), slept.append) == 11

    assert len(slept) == 1


def test_messages_that_are_never_taken_are_an_error(queue: SqsQueue, stubbed: Stubber) -> None:
    failed = {"Id": "0", "SenderFault": False, "Code": "InternalError", "Message": "later"}
    for _ in range(6):
        stubbed.add_response("send_message_batch", _sent(failed))
    with pytest.raises(ServiceBusy, match="1 messages were refused: InternalError later"):
        queue.send_all(["body"], lambda _: None)


def test_messages_that_sqs_refuses_are_not_sent_again(queue: SqsQueue, stubbed: Stubber) -> None:
    failed = {"Id": "0", "SenderFault": True, "Code": "InvalidMessageContents"}
    stubbed.add_response("send_message_batch", _sent(failed))
    with pytest.raises(ConfigError, match="InvalidMessageContents"):
        queue.send_all(["body"], lambda _: None)


def _sent(*failed: dict[str, Any]) -> dict[str, Any]:
    return {"Successful": [], "Failed": list(failed)}


@pytest.mark.parametrize("arn", ["", "arn:aws:sns:eu-west-1:111122223333:topic", "x"])
def test_a_policy_without_a_queue_is_an_error(queue: SqsQueue, stubbed: Stubber, arn: str) -> None:
    policy = f'{{"deadLetterTargetArn": "{arn}", "maxReceiveCount": "3"}}'
    stubbed.add_response("get_queue_attributes", {"Attributes": {"RedrivePolicy": policy}})
    with pytest.raises(ConfigError, match="name --dead-letters"):
        queue.dead_letters()


def test_a_queue_may_have_no_dead_letters(queue: SqsQueue, stubbed: Stubber) -> None:
    stubbed.add_response("get_queue_attributes", {})
    assert queue.dead_letters() is None
