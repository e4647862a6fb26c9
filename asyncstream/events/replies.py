"""What replies to events have in common: errors, room, their schema. Pure."""

import inspect
import json
from collections.abc import Iterable, Sequence
from typing import Any, TypeVar

import msgspec
from msgspec import Struct

from asyncstream.errors import encodable, told

Row = TypeVar("Row")

# Lambda refuses a synchronous reply over 6 MB, but an asynchronous destination or a Step Functions state
# takes 256 KB: rows are listed up to this many bytes, which leaves room for everything else.
MAX_INLINE_BYTES = 200_000
# One message cannot crowd out the others.
MAX_MESSAGE = 1_000


class Problem(Struct, frozen=True):
    """An error: its class in `asyncstream.errors` and what it says."""

    type: str
    message: str


class Invoked(Struct, frozen=True):
    """What the reply tells of the invocation itself: its id, and CPU seconds of all threads."""

    request_id: str
    cpu_seconds: float


def problem(error: BaseException) -> Problem:
    """An error as replies show it: its notes included, its traceback not."""
    return Problem(type(error).__name__, told(error)[:MAX_MESSAGE])


def sendable(reply: Any) -> Any:
    """Return a reply as JSON has it, so that Lambda's runtime client can write it.

    From Python 3.12 on the client writes UTF-8, and fails at half of a surrogate pair that a reply repeats.
    """
    built = msgspec.to_builtins(reply)
    text = json.dumps(built, ensure_ascii=False)
    safe = encodable(text)
    return built if safe == text else json.loads(safe)


def as_many_as_fit(rows: Iterable[Row], left: int) -> tuple[list[Row], int]:
    """The first rows that fit into so many bytes, and how many bytes they leave."""
    fitting: list[Row] = []
    for row in rows:
        # As Lambda's runtime client writes it, in ASCII: an "é" takes six bytes.
        size = len(json.dumps(msgspec.to_builtins(row))) + 2
        if size > left:
            break
        left -= size
        fitting.append(row)
    return fitting, left


def described(title: str, types: Sequence[type[Struct]]) -> dict[str, Any]:
    """The JSON schema (2020-12) of these types."""
    _, definitions = msgspec.json.schema_components(types, ref_template="#/$defs/{name}")
    for definition in definitions.values():
        # A docstring keeps its indentation before Python 3.13.
        definition["description"] = inspect.cleandoc(definition["description"])
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": title,
        "$defs": definitions,
    }
