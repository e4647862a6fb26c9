"""Events of every trigger with random changes by a seed, as a hostile or broken sender may send them."""

import json
import random
from collections.abc import Callable, Iterator, MutableMapping, MutableSequence
from typing import Any

from .trigger_events import object_created, s3_batch, s3_put, sample, sqs
from .witness import DESTINATION, SLICE, SOURCE

# Part of a customer's key, which no log and no reply may contain.
KEY = "MARKEROFAKEYTHATNOLOGMAYHAVE0000"
SURROGATE = "\ud83d"

_COMPOSITE = {"kind": "CRC32", "value": "AAAAAA==-3", "part_size": 5 << 20}
_CONTINUATION = {
    "upload_id": "upload-1",
    "etag": '"etag"',
    "size": 12 << 20,
    "first": 5 << 20,
    "step": 5 << 20,
    "verified": True,
    "checksum": {"kind": "CRC64NVME", "value": "AAAAAAAAAAA="},
    "digests": ["CRC64NVME"],
    "parts": [
        {
            "number": 1,
            "etag": '"1"',
            "length": 5 << 20,
            "checksums": {"CRC64NVME": {"kind": "CRC64NVME", "value": "AAAAAAAAAAA="}},
        }
    ],
}
_FILES = [{"source": f"{SOURCE}{name}", "destination": f"{DESTINATION}{name}"} for name in "ab"]
_ARGS = {
    "SSECustomerAlgorithm": "AES256",
    "SSECustomerKey": KEY,
    "CopySourceSSECustomerAlgorithm": "AES256",
    "CopySourceSSECustomerKey": KEY,
    "Metadata": {"a": "b"},
}
_DIRECT = {
    "files": _FILES,
    "config": {"part_size": 5 << 20, "max_attempts": 1, "transform": "gzip", "extra_args": _ARGS},
    "report_uri": f"{DESTINATION}report.json",
}
_PREFIX = {
    "source_prefix": SOURCE,
    "destination": DESTINATION,
    "config": {"verify": "off", "deadline": 5.5, "max_attempts": 1, "extra_args": _ARGS},
    "report_uri": f"{DESTINATION}report.json",
}
_CONTINUED = {
    "files": [
        {**_FILES[0], "version_id": "v1", "continuation": _CONTINUATION},
        {
            **_FILES[1],
            "continuation": _CONTINUATION | {"checksum": None, "composite": _COMPOSITE, "parts": []},
        },
    ],
    "config": {"max_attempts": 1},
}
_UNZIP = {
    "unzip": f"{SOURCE}a.zip",
    "destination": DESTINATION,
    "select": "*",
    "encoding": "cp932",
    "config": {"max_attempts": 1, "if_exists": "skip", "extra_args": _ARGS},
    "report_uri": f"{DESTINATION}report.json",
}
_ENTRIES = {"source": f"{SOURCE}a.zip", "destination": DESTINATION, "entries": {"select": "[!b]*"}}
_SLICE = _ENTRIES | {"entries": {"slice": SLICE, "encoding": "cp437", "as_gzip": False}}
_STARTED = _ENTRIES | {"entries": {"slice": SLICE, "started": {"b.csv": _CONTINUATION}}}
_RUN = f"{DESTINATION}many-files/run/"
_PLAN = {
    "plan": {
        "action": "copy",
        "kind": "zip",
        "source": f"{SOURCE}a.zip",
        "destination": DESTINATION,
        "settings": {"if_exists": "skip", "transform": "gzip", "extra_args": {"Metadata": {"a": "b"}}},
        "functions": 2,
        "select": "*",
        "encoding": "cp932",
    },
    "run": _RUN,
}
_FINISH = {"finish": _RUN, "redrives": 1, "moved_at": 0, "asked": {"source": SOURCE, "functions": 2}}
_PACK = {
    "concat": [f"{SOURCE}a", f"{SOURCE}b"],
    "destination": f"{DESTINATION}ab",
    "separator": ",",
    "config": {"max_attempts": 1},
    "report_uri": f"{DESTINATION}report.json",
}
_TAR = {"tar": SOURCE, "destination": f"{DESTINATION}a.tar", "continuation": _CONTINUATION}
_GATHERED = {
    "urls": ["https://a.example/1", "https://b.example/2?key=k"],
    "rows": "shipped:items",
    "table": {"name": "t", "key": ["id"], "schema": "s", "columns": ["id", "name"]},
    "config": {"deadline": 5, "max_concurrency": 2, "memory_limit": 64 << 20, "fetch": {"max_body": 1 << 16}},
}

FILE_EVENTS: tuple[Any, ...] = (
    _DIRECT,
    _PREFIX,
    _UNZIP,
    {"files": [_ENTRIES, _FILES[0], _SLICE, _STARTED], "config": {"max_attempts": 1}},
    _PLAN,
    _PLAN | {"plan": {"source": SOURCE}},
    {"estimate": _PLAN["plan"]},
    {"batch": f"{_RUN}plan/000001.jsonl"},
    _FINISH,
    _FINISH | {"redrives": 0},
    {"abort": _RUN},
    {"untar": f"{SOURCE}a", "destination": DESTINATION, "select": "*", "config": {"max_attempts": 1}},
    _PACK,
    _TAR,
    _TAR | {"tar": [f"{SOURCE}a"], "continuation": None},
    _CONTINUED,
    s3_put("raw", "in/a", "in/b c", "in/a.zip"),
    object_created("raw", "in/a"),
    object_created("raw", "in/a.zip"),
    sqs(s3_put("raw", "in/a"), object_created("raw", "in/b"), _DIRECT | {"report_uri": None}, _PREFIX),
    sqs(s3_put("raw", "in/a"), s3_put("raw", "in/b"), groups="gg"),
    s3_batch("raw", "in/a", "in/b"),
    s3_batch("raw", "in/a.zip", schema="2.0"),
    sqs({"batch": f"{_RUN}plan/000002.jsonl"}, _DIRECT | {"report_uri": None}),
)
PAGE_EVENTS: tuple[Any, ...] = (
    _GATHERED,
    {"urls_from": f"{SOURCE}list.txt", "must_succeed": True, "table": {"name": "t", "key": ["id"]}},
    sample("eventbridge_scheduled"),
)


def _copy(value: Any) -> Any:
    """Return a deep copy of a JSON value."""
    return json.loads(json.dumps(value))


def _text(value: Any) -> str:
    """Return a value as text; "x" for a container, and for a customer's key, to keep it out of texts."""
    return str(value) if isinstance(value, str | int | float) and value != KEY else "x"


def _nested(rng: random.Random) -> Any:
    value: Any = {"SSECustomerKey": KEY}
    for _ in range(rng.choice((20, 250))):
        value = [value] if rng.random() < 0.5 else {"a": value}
    return value


_STRUCTURES: tuple[Any, ...] = (None, True, False, [], {}, [None], [[]])
# Replacements for a value. Each gets the random generator and the old value.
_ODD: tuple[Callable[[random.Random, Any], Any], ...] = (
    *(lambda _, __, value=value: _copy(value) for value in _STRUCTURES),
    *(lambda _, __, value=value: value for value in (0, -1, 1, 0.5, 1e308, 2**63, 10**40, -(10**400))),
    *(lambda _, __, value=value: value for value in (float("nan"), float("inf"), float("-inf"))),
    *(
        lambda _, __, value=value: value
        for value in ("", "x", SURROGATE, "\0", "\r\nX: y", "é" * 2000, "x" * 300_000)
    ),
    *(
        lambda _, __, value=value: value
        for value in ("os:system", "sys:exit", "gzip,code:interact", "shipped:items")
    ),
    *(
        lambda _, __, value=value: value
        for value in ("s3://elsewhere/a", "s3://raw/secret", "s3://clean/out", SOURCE)
    ),
    *(
        lambda _, __, value=value: value
        for value in ("s3://raw/in/../secret", "s3://raw/in/a", f"{DESTINATION}a")
    ),
    *(
        lambda _, __, value=value: value
        for value in ("AAAA", "AAAAAA==-99999999999", "-0", "http://[::1", "a://b")
    ),
    lambda _, __: {"SSECustomerKey": KEY},
    lambda _, __: [{"extra_args": {"SSECustomerKey": KEY}}],
    lambda rng, _: _nested(rng),
    lambda _, value: [value],
    lambda _, value: {"a": value},
    lambda _, value: _text(value) + SURROGATE,
    lambda _, value: _text(value) + "/../../x",
    lambda _, value: "../" + _text(value),
    lambda _, value: [value] * 50,
)


def mutated(events: tuple[Any, ...], seed: int) -> Any:
    """Return one of the events, changed at one to three places and parsed from JSON as the runtime does."""
    rng = random.Random(seed)
    event = _copy(rng.choice(events))
    for _ in range(rng.choice((1, 1, 2, 3))):
        event = _changed(event, rng)
    return json.loads(json.dumps(event))


def _changed(event: Any, rng: random.Random) -> Any:
    places = [*_places(event)]
    if not places or rng.random() < 0.01:
        return rng.choice(_ODD)(rng, event)
    parent, key = rng.choice(places)
    value = parent[key]
    inner = _parse_json_text(value)
    if inner is not None and rng.random() < 0.8:  # JSON inside JSON, in a message
        parent[key] = json.dumps(_changed(inner, rng))[: None if rng.random() < 0.9 else rng.randrange(200)]
        return event
    what = rng.random()
    if what < 0.15:
        del parent[key]
    elif what < 0.25 and isinstance(parent, dict):
        parent[rng.choice(("more", "é", SURROGATE, "config", KEY[:0], "x" * 300))] = rng.choice(_ODD)(
            rng, value
        )
    elif what < 0.32 and isinstance(parent, dict):
        parent[str(key) + rng.choice((" ", SURROGATE, "X"))] = parent.pop(key)
    elif what < 0.37:
        other, place = rng.choice(places)
        parent[key] = _copy(other[place]) if other[place] != KEY else None
    else:
        parent[key] = rng.choice(_ODD)(rng, value)
    return event


def _places(value: Any) -> Iterator[tuple[MutableMapping[str, Any] | MutableSequence[Any], Any]]:
    """Yield the container and the key of each nested value. Without recursion, because values nest deeply."""
    left = [value]
    while left:
        each = left.pop()
        keys = list(each) if isinstance(each, dict) else range(len(each)) if isinstance(each, list) else ()
        for key in keys:
            yield each, key
            left.append(each[key])


def _parse_json_text(value: Any) -> Any:
    """Return the JSON object or array that a text holds; None if it holds neither."""
    if not isinstance(value, str) or not value.startswith(("{", "[")):
        return None
    try:
        return json.loads(value)
    except (ValueError, RecursionError):
        return None
