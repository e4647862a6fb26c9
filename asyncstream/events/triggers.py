"""Find the trigger of an event: how to read its items and write its reply. Does no I/O."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from msgspec import Struct

from asyncstream.errors import InputError
from asyncstream.events import batch_operations, s3_events, sqs
from asyncstream.events.deployment import Deployment
from asyncstream.events.items import Item, ItemOutcome
from asyncstream.shown import MAX_SHOWN, shown

# Number of sources that an error names.
MAX_NAMED = 5


class Trigger(Struct, frozen=True):
    """The service that sent an event.

    Attributes:
        name: its name in logs and metrics.
        items: returns the items of the event.
        reply: returns the reply for the outcomes of all items. It raises if the trigger expects an error for
            failures.
    """

    name: str
    items: Callable[[Deployment], list[Item]]
    reply: Callable[[Sequence[ItemOutcome]], Any]


def find_trigger(event: Any) -> Trigger | None:
    """Return the trigger that sent an event; None for a direct invocation (`direct.py`).

    Raises:
        InputError: the event is from a source that is not handled; the message names it.
    """
    if not isinstance(event, dict):
        return None
    if s3_events.is_test(event):
        return Trigger("s3", lambda _: [], s3_events.reply)
    if "Records" in event:
        return _find_records_trigger(event)
    if "detail-type" in event:
        return Trigger("eventbridge", partial(s3_events.parse_eventbridge, event), s3_events.reply)
    if "invocationSchemaVersion" in event:
        return Trigger(
            "s3-batch",
            partial(batch_operations.parse_invocation, event),
            partial(batch_operations.reply, event),
        )
    return None


def _find_records_trigger(event: dict[str, Any]) -> Trigger:
    """Return the trigger of an event that has a list of records."""
    records = event["Records"]
    sources = {_source(record) for record in records} if isinstance(records, list) else {"None"}
    if sources == {"aws:s3"}:
        return Trigger("s3", partial(s3_events.parse_notification, event), s3_events.reply)
    if sources == {"aws:sqs"}:
        return Trigger("sqs", partial(sqs.parse_batch, event), sqs.reply)
    named = ", ".join(sorted(sources)[:MAX_NAMED]) or "no source, as there are none"
    raise InputError(f"the event's records are from {named}: only aws:s3 and aws:sqs are handled")


def _source(record: Any) -> str:
    if not isinstance(record, dict):
        return "None"
    source = record.get("eventSource", record.get("EventSource"))  # SNS writes it with a capital
    return source[:MAX_SHOWN] if isinstance(source, str) else shown(source)
