"""`SqsQueue`: a queue of SQS. Only this module speaks to it, with boto3's client."""

import itertools
import json
import re
import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import boto3
import botocore.session
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError
from urllib3.util.ssl_match_hostname import CertificateError

from asyncstream.error_texts import encodable
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
from asyncstream.http.certificates import check_bundle, find_refused_certificate
from asyncstream.s3.answered_by import between, first_words, is_html
from asyncstream.s3.sdk_errors import MAX_TEXT, PROGRAM_ERRORS, advice_on_refusal, explain
from asyncstream.worker.messages import LONG_POLL, Message

# The most messages of one request.
_BATCH = 10
# A time-out in seconds. A request that fails is sent three times.
_SECONDS = 10.0
_TRIES = 3
# How often the rest of a batch of messages is sent, of which SQS could not take some.
_BATCH_TRIES = 6
# Dead letters that are longer are cut. A whole message may have as many bytes as SQS takes, and with a reason
# it would have more. That of a batch has at most 2,000.
_MAX_BODY = 20_000

_SDK_ERRORS = (ClientError, BotoCoreError, OSError, ValueError, *PROGRAM_ERRORS)
# The permission that each operation needs.
PERMISSIONS = {
    "ReceiveMessage": "sqs:ReceiveMessage",
    "ChangeMessageVisibility": "sqs:ChangeMessageVisibility",
    "DeleteMessage": "sqs:DeleteMessage",
    "SendMessage": "sqs:SendMessage",
    "SendMessageBatch": "sqs:SendMessage",
    "GetQueueAttributes": "sqs:GetQueueAttributes",
    "GetQueueUrl": "sqs:GetQueueUrl",
}
# SQS's names of errors, without "AWS.SimpleQueueService.", which some have.
_NO_QUEUE = frozenset({"NonExistentQueue", "QueueDoesNotExist", "QueueDeletedRecently", "InvalidAddress"})
_NOT_OURS = frozenset({"MessageNotInflight", "ReceiptHandleIsInvalid", "InvalidParameterValue"})
_KEY_CODES = frozenset(
    {
        "InvalidClientTokenId",
        "MissingAuthenticationToken",
        "SignatureDoesNotMatch",
        "UnrecognizedClientException",
    }
)
_BY_CODE: Mapping[str, type[AsyncstreamError]] = {
    "ExpiredToken": CredentialsExpired,
    "ExpiredTokenException": CredentialsExpired,
    "OverLimit": SlowDown,  # 120,000 messages are hidden
    "RequestThrottled": SlowDown,
    "Throttling": SlowDown,
    "ThrottlingException": SlowDown,
    "KmsThrottled": SlowDown,
}
# sqs.eu-west-1.amazonaws.com, and eu-west-1.queue.amazonaws.com of older queues.
_REGION = re.compile(r"https?://(?:[^/]*\.)?(?:sqs\.([a-z0-9-]+)|([a-z0-9-]+)\.queue)\.[^/]*amazonaws\.")
_ARN = re.compile(r"arn:aws[a-z-]*:sqs:[a-z0-9-]+:(\d{12}):([A-Za-z0-9_.-]{1,80})")


_COUNTS = (
    "ApproximateNumberOfMessages",
    "ApproximateNumberOfMessagesNotVisible",
    "ApproximateNumberOfMessagesDelayed",
)


class SqsQueue:
    """A standard queue of SQS. Any number of threads may use it.

    Servers are verified by their certificates, and found as boto3 does: by the region, which the queue's URL
    names, or by AWS_ENDPOINT_URL_SQS or AWS_ENDPOINT_URL.

    Args:
        url: the URL of the queue.
        endpoint_url: the URL of another SQS than AWS's.

    Raises:
        InputError: the URL is not one, or that of a FIFO queue.
        ConfigError: the settings of the SDK are wrong.
    """

    def __init__(self, url: str, endpoint_url: str | None = None) -> None:
        _check_url(url)
        self.url = url
        self._endpoint_url = endpoint_url
        try:
            session = botocore.session.get_session()
            check_bundle(session)
            aws = boto3.Session(botocore_session=session, region_name=_region(url))
            self._client = aws.client("sqs", endpoint_url=endpoint_url, config=_config(_SECONDS))
            # Its replies take longer. The worker itself repeats it, and says so.
            polling = _config(LONG_POLL + _SECONDS, tries=1)
            self._polling = aws.client("sqs", endpoint_url=endpoint_url, config=polling)
        except _SDK_ERRORS as error:
            raise _convert(error, f"the queue {url}", "") from error

    def close(self) -> None:
        """Close the connections."""
        self._client.close()
        self._polling.close()

    def receive(self, seconds: int, wait: int) -> Message | None:
        """See `messages.Queue`."""
        reply = self._ask(
            self._polling.receive_message,
            "ReceiveMessage",
            MaxNumberOfMessages=1,
            VisibilityTimeout=seconds,
            WaitTimeSeconds=wait,
            # Under this name, older servers know it, too.
            AttributeNames=["ApproximateReceiveCount"],
        )
        for each in reply.get("Messages", ()):
            receives = int(each.get("Attributes", {}).get("ApproximateReceiveCount", 1))
            return Message(each["Body"], each["ReceiptHandle"], receives)
        return None

    def hide(self, message: Message, seconds: int) -> bool:
        """See `messages.Queue`."""
        try:
            self._ask(
                self._client.change_message_visibility,
                "ChangeMessageVisibility",
                ReceiptHandle=message.handle,
                VisibilityTimeout=seconds,
            )
        except _NotOursError:
            return False
        return True

    def delete(self, message: Message) -> None:
        """See `messages.Queue`."""
        try:
            self._ask(self._client.delete_message, "DeleteMessage", ReceiptHandle=message.handle)
        except _NotOursError:
            return

    def send(self, body: str, attributes: dict[str, str]) -> None:
        """See `messages.DeadLetters`. A body of more than 20,000 characters is cut."""
        named = {name: {"DataType": "String", "StringValue": value} for name, value in attributes.items()}
        self._ask(
            self._client.send_message,
            "SendMessage",
            MessageBody=encodable(body[:_MAX_BODY]),
            MessageAttributes=named,
        )

    def send_all(self, bodies: Iterable[str], sleep: Callable[[float], None] = time.sleep) -> int:
        """Send messages, ten by each request, and return their number.

        Raises:
            AsyncstreamError: SQS took no more; the messages before are in the queue.
        """
        sent, rest = 0, iter(bodies)
        while some := list(itertools.islice(rest, _BATCH)):
            self._send_some(some, sleep)
            sent += len(some)
        return sent

    def _send_some(self, bodies: list[str], sleep: Callable[[float], None]) -> None:
        left = {str(number): body for number, body in enumerate(bodies)}
        for number in range(_BATCH_TRIES):
            entries = [{"Id": name, "MessageBody": body} for name, body in left.items()]
            reply = self._ask(self._client.send_message_batch, "SendMessageBatch", Entries=entries)
            left = {each["Id"]: left[each["Id"]] for each in reply.get("Failed", ())}
            if not left:
                return
            first = reply["Failed"][0]
            refusal = f"{len(left)} messages were refused: {first.get('Code')} {first.get('Message', '')}"
            if any(each.get("SenderFault") for each in reply["Failed"]):
                raise ConfigError(f"the queue {self.url}: {refusal.strip()}. Check the queue's settings")
            sleep(2.0**number / 10)
        raise ServiceBusy(f"the queue {self.url} is busy, so send the rest later: {refusal}")

    def count(self) -> int:
        """Return about how many messages there are, also hidden and delayed ones."""
        reply = self._ask(
            self._client.get_queue_attributes, "GetQueueAttributes", AttributeNames=list(_COUNTS)
        )
        found = reply.get("Attributes", {})
        return sum(int(found.get(name, 0)) for name in _COUNTS)

    def dead_letters(self) -> "SqsQueue | None":
        """Return the queue for dead letters that the redrive policy of this one names; None if it has none.

        Raises:
            AsyncstreamError: it could not be found out, or that queue does not exist.
        """
        reply = self._ask(
            self._client.get_queue_attributes, "GetQueueAttributes", AttributeNames=["RedrivePolicy"]
        )
        policy = reply.get("Attributes", {}).get("RedrivePolicy")
        if not policy:
            return None
        arn = str(json.loads(policy).get("deadLetterTargetArn"))
        match = _ARN.fullmatch(arn)
        if match is None:
            raise ConfigError(
                f"the queue {self.url} has dead letters in {arn!r:.300}, which is not the ARN of a queue: "
                "name --dead-letters"
            )
        found = self._ask(
            self._client.get_queue_url, "GetQueueUrl", QueueName=match[2], QueueOwnerAWSAccountId=match[1]
        )
        return SqsQueue(found["QueueUrl"], self._endpoint_url)

    def _ask(self, send: Callable[..., Any], operation: str, **params: Any) -> Any:
        if operation != "GetQueueUrl":
            params["QueueUrl"] = self.url
        try:
            return send(**params)
        except _SDK_ERRORS as error:
            raise _convert(error, f"{operation} of the queue {self.url}", operation) from error


def _check_url(url: str) -> None:
    if not url.startswith(("https://", "http://")):
        raise InputError(
            f"{url!r:.300} is not the URL of a queue: write https://sqs.REGION.amazonaws.com/..."
        )
    if url.endswith(".fifo"):
        raise InputError(
            f"{url} is a FIFO queue, which would run one batch after the other: use a standard one"
        )


def _region(url: str) -> str | None:
    """Return the region of a queue; None if its URL does not name one."""
    match = _REGION.match(url)
    return (match[1] or match[2]) if match else None


def _config(seconds: float, tries: int = _TRIES) -> Config:
    return Config(
        connect_timeout=_SECONDS,
        read_timeout=seconds,
        retries={"total_max_attempts": tries, "mode": "standard"},
    )


class _NotOursError(AsyncstreamError):
    """A message is no longer this worker's."""


def _convert(error: Exception, what: str, operation: str) -> AsyncstreamError:
    if isinstance(error, AsyncstreamError):
        return error
    if find_refused_certificate(error, CertificateError) is not None:
        return ServerNotTrusted(f"{what}: {error}")
    if isinstance(error, ClientError):
        return _refused(error, what, operation)
    explained = explain(error)
    if isinstance(explained, ConnectionFailed):
        return ConnectionFailed(f"{what}: {explained}")
    return ConfigError(f"{what}: {explained}")


def _refused(error: ClientError, what: str, operation: str) -> AsyncstreamError:
    details = error.response.get("Error", {})
    code, text = str(details.get("Code", "")), str(details.get("Message", ""))[:MAX_TEXT]
    status = int(error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))
    if is_html(text):  # botocore takes a body that is not JSON for the message
        message = between(what, status, first_words(text.encode()))
        return ServiceBusy(message) if status >= 500 else ConfigError(message)
    name = code.rpartition(".")[2]
    if error.operation_name != operation:  # STS or SSO has answered
        message = f"{what}: {error.operation_name} was refused: {code} {text}".rstrip(". ")
        kind = ServiceBusy if status >= 500 else _BY_CODE.get(name, ConfigError)
        return kind(f"{message}. {advice_on_refusal(error.operation_name, code)}")
    return _refused_by_sqs(name, status, f"{what}: {code} {text}".rstrip(". "), operation)


def _refused_by_sqs(name: str, status: int, message: str, operation: str) -> AsyncstreamError:
    if name in _NO_QUEUE:
        return InputError(f"{message}. Check the queue's name, its account and the region")
    if name in _NOT_OURS and operation in ("ChangeMessageVisibility", "DeleteMessage"):
        return _NotOursError(message)
    if name.startswith("AccessDenied") or name in ("InvalidSecurity", "KmsAccessDenied"):
        return AccessDenied(f"{message}. The role needs {PERMISSIONS[operation]}, and the use of its key")
    if name in _BY_CODE or status >= 500:
        return _BY_CODE.get(name, ServiceBusy)(message)
    advice = advice_on_refusal(operation, name) if name in _KEY_CODES else "Check the queue's settings"
    return ConfigError(f"{message}. {advice}")
