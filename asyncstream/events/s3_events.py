"""S3's own events: its notifications, and the events it sends through EventBridge. Does no I/O.

Both invoke the function asynchronously, so no caller reads the reply. After an error, Lambda tries again
(twice), and then keeps the event in the function's dead-letter queue or on-failure destination. Events may
arrive twice and in any order. So the function copies the current version of the object, not the one that the
event names, and the newest object wins.
"""

from collections.abc import Sequence
from typing import Any
from urllib.parse import unquote_plus

from msgspec import Struct

from asyncstream.errors import InputError
from asyncstream.events.deployment import Deployment
from asyncstream.events.handler_replies import problem
from asyncstream.events.items import Item, ItemOutcome, failure_type
from asyncstream.events.reading import read
from asyncstream.locations import S3Object, is_folder_marker
from asyncstream.shown import shown

# Events after which an object can be read (S3 user guide, "Supported event types").
NOTIFIED = ("ObjectCreated:", "ObjectRestore:Completed")
SENT = ("Object Created", "Object Restore Completed")

# Failures that one error lists, so that it is short enough for a dead-letter queue.
MAX_NAMED = 20


class _Bucket(Struct, frozen=True):
    name: str


class _Object(Struct, frozen=True):
    key: str
    size: Any = None  # some events, and some servers, leave it out


class _Place(Struct, frozen=True):
    bucket: _Bucket
    object: _Object


class _Record(Struct, frozen=True, rename={"event_name": "eventName"}):
    event_name: str
    s3: _Place


class _Sent(Struct, frozen=True, rename={"kind": "detail-type"}):
    source: str
    kind: str
    detail: Any = None


def is_test(event: Any) -> bool:
    """Whether an event is the test event that S3 sends once, when a notification is set up."""
    return isinstance(event, dict) and event.get("Event") == "s3:TestEvent"


def parse_notification(event: Any, deployment: Deployment) -> list[Item]:
    """Return the objects of a notification.

    Raises:
        InputError: `Records` is not a list.
    """
    if not isinstance(event["Records"], list):
        raise InputError(f"the event's $.Records is {shown(event['Records'])}, not a list")
    return [
        _notified_item(record, deployment, f"$.Records[{n}]") for n, record in enumerate(event["Records"])
    ]


def parse_eventbridge(event: Any, deployment: Deployment) -> list[Item]:
    """Return the object of an event that S3 sent through EventBridge."""
    try:
        sent = read(event, _Sent)
        if sent.source != "aws.s3" or sent.kind not in SENT:
            raise InputError(
                f"{shown(sent.kind)} from {shown(sent.source)} is not handled: send only {_join(SENT)} of S3"
            )
        place = read(sent.detail, _Place, "the event's detail")
        return [_item(place, place.object.key, deployment)]
    except InputError as error:
        return [Item("$.detail", error=error)]


def _notified_item(record: Any, deployment: Deployment, path: str) -> Item:
    try:
        notified = read(record, _Record, f"the event's {path}")
        if not notified.event_name.startswith(NOTIFIED):
            raise InputError(
                f"{path}: {shown(notified.event_name)} is not handled: send only {_join(NOTIFIED)}"
            )
        # Notifications encode keys as a form does: a plus is a space. EventBridge's keys are verbatim.
        key = unquote_plus(notified.s3.object.key)
        return _item(notified.s3, key, deployment)
    except InputError as error:
        return Item(path, error=error)


def _item(place: _Place, key: str, deployment: Deployment) -> Item:
    source = S3Object(place.bucket.name, key)
    if is_folder_marker(key, place.object.size):  # someone made a folder in S3's console
        deployment.check_read(source)
        return Item(source.uri)
    return Item(source.uri, (deployment.pair(source),))


def _join(names: Sequence[str]) -> str:
    return " and ".join(repr(name) for name in names)


def reply(outcomes: Sequence[ItemOutcome]) -> dict[str, int]:
    """Return the reply of an asynchronous invocation, for an on-success destination.

    Raises:
        FilesFailed: some objects were not copied; FilesFailedForNow if another try may help.
    """
    _raise_failures(outcomes)
    return {"copied": sum(each.files for each in outcomes), "bytes": sum(each.bytes for each in outcomes)}


def _raise_failures(outcomes: Sequence[ItemOutcome]) -> None:
    """Raise one error that lists the failures, if there are any."""
    failed = [(each.item, each.error) for each in outcomes if each.error is not None]
    if not failed:
        return
    problems = [(item.name, problem(error)) for item, error in failed[:MAX_NAMED]]
    named = "; ".join(f"{name}: {error.type}: {error.message}" for name, error in problems)
    more = f"; and {len(failed) - MAX_NAMED:,} more" if len(failed) > MAX_NAMED else ""
    raise failure_type(outcomes)(f"{len(failed):,} of {len(outcomes):,} failed: {named}{more}")
