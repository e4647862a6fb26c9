"""An item of a Distributed Map, or a batch of them by ItemBatcher. Pure.

The state machine of `deploy/template.yaml` asks in two steps. The first copies what it can, and answers
with the items that are left. The second has those alone and `must_succeed`: while one fails, it raises an
error whose message has, as JSON, the items that are left. So a child execution that failed and is redriven
begins with those, and a run over the failed executions of another (`FailedExecution`) finds them.

A reply is also an event: it asks for what is left, and its totals are of the whole chain of invocations. Rows
of an inventory that name nothing to copy (`inventory.py`) are counted, and are not among what is left.
"""

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
from msgspec import Struct

from asyncstream.errors import AsyncstreamError, ConfigError, FilesFailed, FilesFailedForNow, told
from asyncstream.events import inventory
from asyncstream.events.deployment import Deployment
from asyncstream.events.items import Item, Outcome, failure_of
from asyncstream.events.reading import read, shaped, without_keys
from asyncstream.locations import S3Object
from asyncstream.pipeline.continuation import Continuation

# A failed execution's Cause takes 32,768 characters. It is what Lambda's runtime client makes of the error:
# JSON, in which the message is a string that is itself JSON. There a byte of the items is at most three
# characters: a quote or a backslash two; a comma or a colon two, with the space after it; of what is not
# ASCII, two bytes (ä) six (\u00e4) and four (an emoji) twelve. From Python 3.12 on the client escapes no such
# characters, but others may.
#   8,000 bytes of items (MaxInputBytesPerBatch in deploy/template.yaml), by three   24,000
#   errors, counted as they stand in the Cause                                        5,000
#   left for type, request id, stack trace and counts                                 3,768
# Step Functions cuts a longer Cause. Nothing is read of one that was cut: all of its execution's input is
# then done again. That may happen to a batch of an inventory, whose rows have up to 32,000 bytes: if more
# than 8,000 of them are names, and nearly all of its files fail.
MAX_ERROR_BYTES = 5_000
MAX_ERROR = 300
# The name of an item that is none.
NO_SOURCE = "an item without a source"


class MapItem(Struct, frozen=True, forbid_unknown_fields=True):
    """One file: a row of a CSV or of JSON Lines, or what the state machine makes of a listing.

    Attributes:
        source: `s3://bucket/key`.
        destination: likewise; empty: the rest of the key under the deployed destination.
        version_id: the version to read; empty: the current one.
        continuation: what an earlier invocation has left of it, as its reply says.
    """

    source: str
    destination: str = ""
    version_id: str = ""
    continuation: Continuation | None = None


class FailedExecution(Struct, frozen=True, rename="pascal"):
    """A child execution that failed, as ResultWriter keeps it in `FAILED_0.json`.

    Attributes:
        input: what it began with: JSON of a batch or of an item.
        error: of the error that ended it.
        cause: of the same; a function's error: JSON of its type and message.
    """

    input: str
    error: str = ""
    cause: str = ""


class _Failed(Struct, frozen=True, forbid_unknown_fields=True):
    failed_execution: FailedExecution


class _Batch(Struct, frozen=True, forbid_unknown_fields=True, rename={"items": "Items"}):
    """An event: what a Map asks for, or an earlier reply.

    Attributes:
        items: to be copied.
        must_succeed: whether to raise an error if items are left.
        copied, bytes: files and bytes that earlier invocations have copied.
        left_out: rows of an inventory that are not to be copied, by reason.
        pending, failed, errors: of an earlier reply; the items tell the same.
    """

    items: list[Any]
    must_succeed: bool = False
    copied: int = 0
    bytes: int = 0
    left_out: Mapping[str, int] = {}
    pending: Any = None
    failed: Any = None
    errors: Any = None


def of_map(event: Any, deployment: Deployment) -> list[Item]:
    """The items of a batch, or the one of an invocation without ItemBatcher.

    Raises:
        InputError: the batch is malformed; a malformed item only fails itself.
    """
    return [_item(each, deployment) for each in _asked(event).items]


def reply(event: Any, outcomes: Sequence[Outcome]) -> dict[str, Any]:
    """What is done and what is left, in the form of an event: see `_Batch`.

    Raises:
        FilesFailed: something is left and `must_succeed` was asked.
    """
    batch = _asked(event)
    ends = list(zip(batch.items, outcomes, strict=True))
    failed = [(item, each) for item, each in ends if each.error]
    pending = [(item, each) for item, each in ends if each.pending and not each.error]
    left = [_as_left(item, None) for item, _ in failed]
    left += [_as_left(item, each.continuation) for item, each in pending]
    told = {
        "copied": batch.copied + len(outcomes) - len(failed) - len(pending),
        "pending": len(pending),
        "bytes": batch.bytes + sum(each.bytes for each in outcomes),
        "failed": len(failed),
        "left_out": batch.left_out,
        "errors": _as_many_as_fit([each for _, each in failed]),
        "Items": left,
    }
    if left and batch.must_succeed:
        raise failure_of(outcomes)(json.dumps(told, ensure_ascii=False))
    return told


def is_chained(event: Any) -> bool:
    """Whether the state machine goes on with what is left when the time is up: it does in its first step."""
    return not (isinstance(event, dict) and event.get("must_succeed"))


def _as_left(item: Any, continuation: Continuation | None) -> Any:
    """An item as the next invocation is to get it; without what was left of it earlier, which is over."""
    if not isinstance(item, dict):
        return without_keys(item)
    others = {name: value for name, value in item.items() if name != "continuation"}
    if continuation is None:
        return without_keys(others)
    return {**others, "continuation": msgspec.to_builtins(continuation)}


def _asked(event: Any) -> _Batch:
    """The batch; failed executions are replaced by what they left, rows of an inventory by their files."""
    batch = shaped(event, _Batch) if "Items" in event else _Batch([event])
    items: list[Any] = []
    left_out = Counter(batch.left_out)
    for item in (item for each in batch.items for item in _expanded(each)):
        found = _of_inventory(item)
        if isinstance(found, inventory.LeftOut):
            left_out[found.value] += 1
        else:
            items.append(found)
    return msgspec.structs.replace(batch, items=items, left_out=dict(left_out))


def _of_inventory(item: Any) -> Any:
    """A row of an inventory in the form of `MapItem`, or why it is left out; another item as it is."""
    if not isinstance(item, dict) or item.keys() != {"inventory_row"}:
        return item
    try:
        found = inventory.read_row(item["inventory_row"])
    except AsyncstreamError:  # it fails alone, when `_item` reads it
        return item
    return found if isinstance(found, inventory.LeftOut) else {"source": found.uri}


def _expanded(value: Any) -> list[Any]:
    if not isinstance(value, dict) or "failed_execution" not in value:
        return [value]
    failed = read(value, _Failed, "the item").failed_execution
    left = _left(failed) or _items_in(failed.input)
    # The input of one that was itself to finish a failed execution has that one in it.
    return [item for each in left for item in _expanded(each)] or [value]


def _left(failed: FailedExecution) -> list[Any]:
    """The items that a failed execution names; none if it ended in another way, or named too many."""
    if failed.error not in (FilesFailed.__name__, FilesFailedForNow.__name__):
        return []
    cause = _json(failed.cause)
    return _items_in(cause.get("errorMessage", "")) if isinstance(cause, dict) else []


def _items_in(text: Any) -> list[Any]:
    found = _json(text)
    if isinstance(found, dict) and isinstance(found.get("Items"), list):
        return list(found["Items"])
    return [] if found is None else [found]


def _json(text: Any) -> Any:
    try:
        return json.loads(text) if isinstance(text, str) else None
    except (ValueError, RecursionError):  # Step Functions cuts a Cause that is too long
        return None


def _item(value: Any, deployment: Deployment) -> Item:
    try:
        if isinstance(value, dict) and "inventory_row" in value:
            # One that cannot be read, as `_asked` has replaced the others: this raises its error.
            inventory.read_row(value["inventory_row"])
        asked = read(value, MapItem, "the item")
        source = S3Object.from_uri(asked.source, asked.version_id or None)
        destination = S3Object.from_uri(asked.destination) if asked.destination else None
        pair = deployment.pair(source, destination)
        return Item(source.uri, (pair,), continuation=asked.continuation)
    except ConfigError:
        raise
    except AsyncstreamError as error:
        name = without_keys(value.get("source") if isinstance(value, dict) else value)
        return Item(name[:MAX_ERROR] if isinstance(name, str) else NO_SOURCE, error=error)


def _as_many_as_fit(failed: Sequence[Outcome]) -> list[dict[str, str]]:
    errors: list[dict[str, str]] = []
    left = MAX_ERROR_BYTES
    for outcome in failed:
        row = {
            "source": outcome.item.name,
            "type": type(outcome.error).__name__,
            "message": told(outcome.error)[:MAX_ERROR],
        }
        # As a string within JSON. Its two quotes count for the comma and the space before the next.
        left -= len(json.dumps(json.dumps(row, ensure_ascii=False)))
        if left < 0:
            break
        errors.append(row)
    return errors
