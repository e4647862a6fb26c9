"""Which trigger an event is from: its items and the reply it expects. Pure."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from msgspec import Struct

from asyncstream.errors import InputError
from asyncstream.events import batch_operations, s3_events, sqs, step_functions
from asyncstream.events.deployment import Deployment
from asyncstream.events.items import Item, Outcome
from asyncstream.events.reading import MOST_SHOWN, shown

# Sources that an error names.
MOST_NAMED = 5


class Trigger(Struct, frozen=True):
    """What sent an event.

    Attributes:
        name: of it, as logs and metrics have it.
        items: what the event asks for.
        reply: what the trigger is to get back once all items have ended; may raise, where that is how the
            trigger is told.
        chained: whether it has what is left when the time is up done by another invocation.
    """

    name: str
    items: Callable[[Deployment], list[Item]]
    reply: Callable[[Sequence[Outcome]], Any]
    chained: bool = False


def trigger_of(event: Any) -> Trigger | None:  # noqa: PLR0911 - a return for each trigger
    """What sent the event; None: somebody who invoked the function with an event of its own (`direct.py`).

    Raises:
        InputError: it is from a source that is not handled, which the message names.
    """
    if not isinstance(event, dict):
        return None
    if s3_events.is_test(event):
        return Trigger("s3", lambda _: [], s3_events.reply)
    if "Records" in event:
        return _of_records(event)
    if "detail-type" in event:
        return Trigger("eventbridge", partial(s3_events.of_eventbridge, event), s3_events.reply)
    if "invocationSchemaVersion" in event:
        return Trigger(
            "s3-batch",
            partial(batch_operations.of_invocation, event),
            partial(batch_operations.reply, event),
        )
    if {"Items", "source", "inventory_row", "failed_execution"} & event.keys():
        return Trigger(
            "step-functions",
            partial(step_functions.of_map, event),
            partial(step_functions.reply, event),
            chained=step_functions.is_chained(event),
        )
    return None


def _of_records(event: dict[str, Any]) -> Trigger:
    """The trigger of an event that is a list of records."""
    records = event["Records"]
    sources = {_source(record) for record in records} if isinstance(records, list) else {"None"}
    if sources == {"aws:s3"}:
        return Trigger("s3", partial(s3_events.of_notification, event), s3_events.reply)
    if sources == {"aws:sqs"}:
        return Trigger("sqs", partial(sqs.of_batch, event), sqs.reply)
    named = ", ".join(sorted(sources)[:MOST_NAMED]) or "no source, as there are none"
    raise InputError(f"the event's records are from {named}: only aws:s3 and aws:sqs are handled")


def _source(record: Any) -> str:
    if not isinstance(record, dict):
        return "None"
    source = record.get("eventSource", record.get("EventSource"))  # SNS writes it with a capital
    return source[:MOST_SHOWN] if isinstance(source, str) else shown(source)
