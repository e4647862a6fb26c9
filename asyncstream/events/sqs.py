"""Messages of an SQS queue: S3's events (also by SNS or EventBridge), direct events, batches of runs.

Does no I/O.

An SNS topic puts each message into an envelope, unless its subscription has raw message delivery.

The reply names the messages that failed (`ReportBatchItemFailures`). SQS delivers only those again, and after
`maxReceiveCount` deliveries moves them to the dead-letter queue. In a FIFO queue, the later messages of the
same group are not started and fail too: otherwise they would overtake the failed one.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
from msgspec import Struct

from asyncstream.errors import AsyncstreamError, InputError
from asyncstream.events import direct, s3_events
from asyncstream.events.batch_events import BatchEvent, batch_of
from asyncstream.events.deployment import Deployment
from asyncstream.events.items import Item, ItemOutcome
from asyncstream.events.reading import convert, read
from asyncstream.shown import shown


class _Message(Struct, frozen=True, rename={"message_id": "messageId", "queue": "eventSourceARN"}):
    message_id: str
    queue: str
    body: str
    attributes: Mapping[str, str] = {}


class _Envelope(Struct, frozen=True, rename="pascal"):
    """What SNS sends to a queue (SNS developer guide, "Amazon SNS message formats")."""

    type: str
    topic_arn: str
    message: str


def parse_batch(event: Any, deployment: Deployment) -> list[Item]:
    """Return the messages of a batch.

    Raises:
        InputError: a record is not a message. SQS delivers the whole batch again.
    """
    messages = [
        convert(record, _Message, f"the event's $.Records[{n}]") for n, record in enumerate(event["Records"])
    ]
    return [_item(message, deployment) for message in messages]


def reply(outcomes: Sequence[ItemOutcome]) -> dict[str, list[dict[str, str]]]:
    """Return the reply that names the messages to deliver again."""
    failed = [outcome.item.name for outcome in outcomes if outcome.error is not None]
    return {"batchItemFailures": [{"itemIdentifier": name} for name in failed]}


def _item(message: _Message, deployment: Deployment) -> Item:
    group = message.attributes.get("MessageGroupId") if message.queue.endswith(".fifo") else None
    try:
        parsed = _parse_body(message.body, deployment)
    except AsyncstreamError as error:
        return Item(message.message_id, error=error, group=group)
    return Item(message.message_id, parsed.pairs, parsed.config, parsed.error, group, parsed.batch)


def _parse_body(body: str, deployment: Deployment) -> Item:
    """Return the item, without a name, that a message's body describes."""
    event = _decode(body, "the message")
    if isinstance(event, dict) and "TopicArn" in event:
        event = _unwrap(event)
    if s3_events.is_test(event):
        return Item("")
    if isinstance(event, dict) and "Records" in event:
        return _merge(s3_events.parse_notification(event, deployment))
    if isinstance(event, dict) and "detail-type" in event:
        return _merge(s3_events.parse_eventbridge(event, deployment))
    if isinstance(event, dict) and "batch" in event:
        batch = read(event, BatchEvent, "the message").batch
        batch_of(batch, deployment)
        return Item("", batch=batch)
    own = direct.read_event(event)
    if own.report_uri is not None:
        raise InputError("a message cannot have a report_uri: only a direct invocation writes a report")
    pairs = direct.event_pairs(own, one_server=deployment.one_server)
    deployment.check(pairs)
    settings = direct.named_settings(event, own)
    deployment.check_settings(settings)
    return Item("", tuple(pairs), settings)


def _decode(text: str, what: str) -> Any:
    try:
        return msgspec.json.decode(text)
    except (msgspec.DecodeError, UnicodeEncodeError, RecursionError) as error:
        # The text is not repeated, because it may contain a customer's key.
        why = "it is nested too deeply" if isinstance(error, RecursionError) else str(error)
        raise InputError(f"{what} is not JSON: {why}") from None


def _unwrap(event: Any) -> Any:
    """Return the message in an SNS envelope."""
    envelope = read(event, _Envelope, "the SNS envelope")
    if envelope.type != "Notification":
        raise InputError(
            f"SNS sent a {shown(envelope.type)} from {shown(envelope.topic_arn)}, which names no objects: if "
            "it is a SubscriptionConfirmation, confirm the subscription and delete the message"
        )
    return _decode(envelope.message, "the message in the SNS envelope")


def _merge(items: Sequence[Item]) -> Item:
    """Return one item with the objects of all items of a message, which succeeds if all of them do."""
    pairs = tuple(dict.fromkeys(pair for item in items for pair in item.pairs))
    return Item("", pairs, error=next((item.error for item in items if item.error is not None), None))
