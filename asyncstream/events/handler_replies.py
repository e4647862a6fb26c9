"""Common parts of replies to events: errors, size limits, the schema. Does no I/O."""

import inspect
import json
from collections.abc import Iterable, Sequence
from typing import Any, TypeVar

import msgspec
from msgspec import Struct

from asyncstream.error_texts import encodable, full_message

Row = TypeVar("Row")

# A synchronous reply may have 6 MB, but an asynchronous destination or a Step Functions state takes 256 KB.
# Rows are listed up to this many bytes, which leaves room for everything else.
MAX_INLINE_BYTES = 200_000
# The limit in characters keeps one long message from displacing the others.
MAX_MESSAGE = 1_000


class Problem(Struct, frozen=True):
    """An error: its class in `asyncstream.errors` and its message."""

    type: str
    message: str


class Invoked(Struct, frozen=True):
    """Facts about the invocation itself for the reply: its id, and CPU seconds of all threads."""

    request_id: str
    cpu_seconds: float


def problem(error: BaseException) -> Problem:
    """Return an error as replies show it: with its notes, without its traceback."""
    return Problem(type(error).__name__, full_message(error)[:MAX_MESSAGE])


def sendable(reply: Any) -> Any:
    """Return a reply as plain JSON types, which Lambda's runtime client can write.

    From Python 3.12 on, the client writes UTF-8 and fails on half of a surrogate pair. Such halves, which a
    reply may repeat from the event, are replaced.
    """
    built = msgspec.to_builtins(reply)
    text = json.dumps(built, ensure_ascii=False)
    safe = encodable(text)
    return built if safe == text else json.loads(safe)


def as_many_as_fit(rows: Iterable[Row], left: int) -> tuple[list[Row], int]:
    """Return the first rows that fit into `left` bytes, and the number of bytes then left."""
    fitting: list[Row] = []
    for row in rows:
        # Lambda's runtime client may write ASCII: an "é" takes six bytes.
        size = len(json.dumps(msgspec.to_builtins(row))) + 2
        if size > left:
            break
        left -= size
        fitting.append(row)
    return fitting, left


def json_schema(title: str, types: Sequence[type[Struct]]) -> dict[str, Any]:
    """Return the JSON schema (2020-12) of these types."""
    _, definitions = msgspec.json.schema_components(types, ref_template="#/$defs/{name}")
    for definition in definitions.values():
        # A docstring keeps its indentation before Python 3.13.
        definition["description"] = inspect.cleandoc(definition["description"])
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": title,
        "$defs": definitions,
    }
