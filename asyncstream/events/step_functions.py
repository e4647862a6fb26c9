"""An item of a Distributed Map, or a batch of them by ItemBatcher; pure, recognised by `triggers.py`.

Asked by `deploy/state_machine.yaml`, in two steps. The first copies what it can, and answers with the items
that are left. The second has those alone and `must_succeed`: while one fails, it raises. So a child
execution that failed, and is redriven, begins with the failed items and leaves the others alone.
"""

import json
from collections.abc import Sequence
from typing import Any, Literal
from urllib.parse import unquote_plus

from msgspec import Struct

from asyncstream.errors import AsyncstreamError, ConfigError, told
from asyncstream.events.deployment import Deployment
from asyncstream.events.items import Item, Outcome, raise_failures
from asyncstream.events.reading import read
from asyncstream.locations import S3Object

# A state's output is at most 256 KB, and the items themselves are nearly as long where batches are large.
MAX_ERROR_BYTES = 20_000
MAX_ERROR = 300


class MapItem(Struct, frozen=True, forbid_unknown_fields=True):
    """One file: a row of a CSV or of JSON Lines, or what the state machine makes of a listing.

    Attributes:
        source: `s3://bucket/key`.
        destination: likewise; empty: the rest of the key under the deployed destination.
        version_id: the version to read; empty: the current one.
        encoding: "url" if the key of `source` is percent-encoded, as in the CSV of S3 Inventory.
    """

    source: str
    destination: str = ""
    version_id: str = ""
    encoding: Literal["none", "url"] = "none"


class _Batch(Struct, frozen=True, forbid_unknown_fields=True, rename={"items": "Items"}):
    items: list[Any]
    must_succeed: bool = False


def of_map(event: Any, deployment: Deployment) -> list[Item]:
    """The items of a batch, or the one of an invocation without ItemBatcher.

    Raises:
        InputError: the batch is malformed; a malformed item only fails itself.
    """
    return [_item(each, deployment) for each in _batch(event).items]


def reply(event: Any, outcomes: Sequence[Outcome]) -> dict[str, Any]:
    """What is done and what is left, in the form of the event.

    Raises:
        FilesFailed: something is left and `must_succeed` was asked.
    """
    batch = _batch(event)
    if batch.must_succeed:
        raise_failures(outcomes)
    failed = [(item, outcome) for item, outcome in zip(batch.items, outcomes, strict=True) if outcome.error]
    return {
        "copied": len(outcomes) - len(failed),
        "bytes": sum(outcome.bytes for outcome in outcomes),
        "failed": len(failed),
        "errors": _as_many_as_fit([outcome for _, outcome in failed]),
        "Items": [item for item, _ in failed],
    }


def _batch(event: Any) -> _Batch:
    return read(event, _Batch) if "Items" in event else _Batch([event])


def _item(value: Any, deployment: Deployment) -> Item:
    try:
        asked = read(value, MapItem, "the item")
        source = S3Object.from_uri(asked.source, asked.version_id or None)
        if asked.encoding == "url":
            source = S3Object(source.bucket, unquote_plus(source.key), source.version_id)
        destination = S3Object.from_uri(asked.destination) if asked.destination else None
        return Item(source.uri, (deployment.pair(source, destination),))
    except ConfigError:
        raise
    except AsyncstreamError as error:
        name = value.get("source") if isinstance(value, dict) else None
        return Item(str(name or value)[:MAX_ERROR], error=error)


def _as_many_as_fit(failed: Sequence[Outcome]) -> list[dict[str, str]]:
    errors: list[dict[str, str]] = []
    left = MAX_ERROR_BYTES
    for outcome in failed:
        row = {
            "source": outcome.item.name,
            "type": type(outcome.error).__name__,
            "message": told(outcome.error)[:MAX_ERROR],
        }
        left -= len(json.dumps(row)) + 2
        if left < 0:
            break
        errors.append(row)
    return errors
