"""An item of a Step Functions Distributed Map, or a batch of items by ItemBatcher. Does no I/O.

The state machine of `deploy/template.yaml` invokes the function in two steps. The first step copies what it
can, and replies with the items that are left. The second step gets only those items, and `must_succeed`. If
items are still left, it raises an error whose message has them as JSON. So a failed child execution that is
redriven starts with those items, and a run over the failed executions of another run (`FailedExecution`)
finds them.

A reply is also an event: it asks for the items that are left, and its totals cover the whole chain of
invocations. Inventory rows that name nothing to copy (`runs/inventory.py`) are counted and are never left.
"""

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
from msgspec import Struct

from asyncstream.errors import (
    AsyncstreamError,
    ConfigError,
    FilesFailed,
    FilesFailedForNow,
    InputError,
    full_message,
)
from asyncstream.events.deployment import Deployment
from asyncstream.events.items import Item, ItemOutcome, failure_type
from asyncstream.events.packing import Packing
from asyncstream.events.reading import convert, read, without_keys
from asyncstream.locations import S3Object, S3Prefix, ZipEntries, is_folder_marker
from asyncstream.pipeline.continuation import Continuation
from asyncstream.pipeline.jobs import Pair
from asyncstream.runs import inventory
from asyncstream.runs.unzipping import Entries, continuations_of

# A failed execution's Cause may have 32,768 characters. Lambda's runtime client writes it: JSON that has the
# error's message as a string, which is JSON itself. There, a byte of the items takes at most three
# characters. A quote or a backslash takes two, a comma or a colon two with the space after it. Outside ASCII,
# two bytes (ä) take six (\u00e4) and four bytes (an emoji) take twelve. From Python 3.12 on, the client does
# not escape such characters, but other clients may.
#   8,000 bytes of items (MaxInputBytesPerBatch in deploy/template.yaml), by three   24,000
#   errors, counted as written in the Cause                                           5,000
#   left for type, request id, stack trace and counts                                 3,768
# Step Functions cuts a longer Cause. A Cause that was cut is ignored, and the execution's whole input is done
# again. That can happen to a batch of inventory rows, which has up to 32,000 bytes: if more than 8,000 of
# them are names, and nearly all of its files fail.
MAX_ERROR_BYTES = 5_000
MAX_ERROR = 300
# The name of an item that has no source.
NO_SOURCE = "an item without a source"


class MapItem(Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """One file: a row of CSV or JSON Lines, or an item that the state machine builds from a listing.

    Attributes:
        source: `s3://bucket/key`.
        destination: `s3://bucket/key`; empty for the rest of the key under the deployed destination.
        entries: which files of the source, a ZIP archive, to unpack to the prefix `destination`.
        pack: how to pack all objects under the source, a prefix, into the object `destination`.
        version_id: the version to read; empty for the current one.
        continuation: where to continue, copied from the reply of an earlier invocation.
        size: bytes of the source, as a listing says. A folder marker is not copied: size 0, and a slash at
            the end of the key.
    """

    source: str
    destination: str = ""
    version_id: str = ""
    continuation: Continuation | None = None
    size: int | None = None
    entries: Entries | None = None
    pack: Packing | None = None


class FailedExecution(Struct, frozen=True, rename="pascal"):
    """A failed child execution, as ResultWriter stores it in `FAILED_0.json`.

    Attributes:
        input: the execution's input: JSON of a batch or of an item.
        error: the name of the error that ended it.
        cause: the cause of that error. For a function's error, JSON of its type and message.
    """

    input: str
    error: str = ""
    cause: str = ""


class _Failed(Struct, frozen=True, forbid_unknown_fields=True):
    failed_execution: FailedExecution


class _Batch(Struct, frozen=True, forbid_unknown_fields=True, rename={"items": "Items"}):
    """An event: a batch of a Map, or an earlier reply.

    Attributes:
        items: the items to copy.
        must_succeed: whether to raise an error if items are left.
        copied, bytes: files and bytes that earlier invocations have copied.
        left_out: numbers of inventory rows and folder markers that are not copied, by reason.
        pending, failed, errors: fields of an earlier reply, ignored.
    """

    items: list[Any]
    must_succeed: bool = False
    copied: int = 0
    bytes: int = 0
    left_out: Mapping[str, int] = {}
    pending: Any = None
    failed: Any = None
    errors: Any = None


def parse_map(event: Any, deployment: Deployment) -> list[Item]:
    """Return the items of a batch, or the single item of an invocation without ItemBatcher.

    Raises:
        InputError: the batch is malformed. A malformed item fails alone.
    """
    return [_item(each, deployment) for each in _expand_batch(event).items]


def reply(event: Any, outcomes: Sequence[ItemOutcome]) -> dict[str, Any]:
    """Return totals and the items that are left, in the form of an event: see `_Batch`.

    Raises:
        FilesFailed: items are left and the event has `must_succeed`.
    """
    batch = _expand_batch(event)
    ends = list(zip(batch.items, outcomes, strict=True))
    failed = [(item, each) for item, each in ends if each.error]
    pending = [(item, each) for item, each in ends if each.pending and not each.error]
    unfinished = [_as_left(item, each) for item, each in failed + pending]
    totals = {
        "copied": batch.copied + sum(each.files for each in outcomes),
        "pending": len(pending),
        "bytes": batch.bytes + sum(each.bytes for each in outcomes),
        "failed": len(failed),
        "left_out": batch.left_out,
        "errors": _as_many_as_fit([each for _, each in failed]),
        "Items": unfinished,
    }
    if unfinished and batch.must_succeed:
        raise failure_type(outcomes)(json.dumps(totals, ensure_ascii=False))
    return totals


def is_chained(event: Any) -> bool:
    """Whether the state machine invokes the function again for unfinished items: after its first step."""
    return not (isinstance(event, dict) and event.get("must_succeed"))


def _as_left(item: Any, outcome: ItemOutcome) -> Any:
    """Return an item as the next invocation needs it, with the new continuation and not the earlier one."""
    if not isinstance(item, dict):
        return without_keys(item)
    others = {name: value for name, value in item.items() if name != "continuation"}
    left = outcome.left
    if left is not None and isinstance(left.source, ZipEntries):
        return {**others, "entries": msgspec.to_builtins(Entries.from_selection(left.source, left.started))}
    if left is None or left.continuation is None or outcome.error is not None:
        return without_keys(others)
    return {**others, "continuation": msgspec.to_builtins(left.continuation)}


def _expand_batch(event: Any) -> _Batch:
    """Return the batch, with failed executions replaced by the items they left, and rows by files."""
    batch = convert(event, _Batch) if "Items" in event else _Batch([event])
    items: list[Any] = []
    left_out = Counter(batch.left_out)
    for item in (item for each in batch.items for item in _expand(each)):
        found = _find_left_out(item)
        if isinstance(found, inventory.LeftOut):
            left_out[found.value] += 1
        else:
            items.append(found)
    return msgspec.structs.replace(batch, items=items, left_out=dict(left_out))


def _find_left_out(item: Any) -> Any:
    """Return why an item is left out, else the item, with an inventory row as a `MapItem`."""
    if not isinstance(item, dict):
        return item
    source = item.get("source")
    if isinstance(source, str) and is_folder_marker(source, item.get("size", 1)):
        return inventory.LeftOut.FOLDER_MARKER
    if item.keys() != {"inventory_row"}:
        return item
    try:
        found = inventory.read_row(item["inventory_row"])
    except AsyncstreamError:  # the row fails alone, when `_item` reads it
        return item
    return found if isinstance(found, inventory.LeftOut) else {"source": found.uri}


def _expand(value: Any) -> list[Any]:
    if not isinstance(value, dict) or "failed_execution" not in value:
        return [value]
    failed = read(value, _Failed, "the item").failed_execution
    unfinished = _items_named_by(failed) or _items_in(failed.input)
    # If the failed execution ran over another failed one, its input contains that one.
    return [item for each in unfinished for item in _expand(each)] or [value]


def _items_named_by(failed: FailedExecution) -> list[Any]:
    """Return the items that a failed execution names; none if it failed differently, or named too many."""
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
    except (ValueError, RecursionError):  # Step Functions has cut a long Cause
        return None


def _item(value: Any, deployment: Deployment) -> Item:
    try:
        if isinstance(value, dict) and "inventory_row" in value:
            # `_expand_batch` replaces valid rows. This row is invalid, and reading it raises its error.
            inventory.read_row(value["inventory_row"])
        row = read(value, MapItem, "the item")
        pair = _pair(row, deployment)
        started = continuations_of(pair, row.continuation, row.entries)
        return Item(row.source, (pair,), continuations=started)
    except ConfigError:
        raise
    except AsyncstreamError as error:
        name = without_keys(value.get("source") if isinstance(value, dict) else value)
        return Item(name[:MAX_ERROR] if isinstance(name, str) else NO_SOURCE, error=error)


def _pair(row: MapItem, deployment: Deployment) -> Pair:
    if row.pack is None:
        source = S3Object.from_uri(row.source, row.version_id or None)
        return deployment.pair(source, row.destination, row.entries)
    if row.entries is not None or row.version_id:
        raise InputError("an item with `pack` has neither `entries` nor `version_id`")
    return deployment.pack_pair(S3Prefix.from_uri(row.source), row.destination, row.pack)


def _as_many_as_fit(failed: Sequence[ItemOutcome]) -> list[dict[str, str]]:
    errors: list[dict[str, str]] = []
    bytes_free = MAX_ERROR_BYTES
    for outcome in failed:
        row = {
            "source": outcome.item.name,
            "type": type(outcome.error).__name__,
            "message": full_message(outcome.error)[:MAX_ERROR],
        }
        # Counted as a string within JSON. Its two quotes stand for the comma and space before the next row.
        bytes_free -= len(json.dumps(json.dumps(row, ensure_ascii=False)))
        if bytes_free < 0:
            break
        errors.append(row)
    return errors
