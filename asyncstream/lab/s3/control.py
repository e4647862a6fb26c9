"""The control API under /_lab/, which is not a valid bucket name."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from asyncstream.lab.s3.checksums import COMPOSITE, can_be, checksum_header, encoded_crc64nvme
from asyncstream.lab.s3.faults import Fault, FaultPlan
from asyncstream.lab.s3.lab_replies import Reply, S3Error, json_reply
from asyncstream.lab.s3.model import Network, NetworkModel

if TYPE_CHECKING:
    from collections.abc import Callable

    from asyncstream.lab.s3.body import Body
    from asyncstream.lab.s3.state import State

PREFIX = "/_lab/"


def answer(state: State, path: str, body: Body) -> Reply:
    """Run one control command with arguments from a JSON object, and return its reply."""
    command = COMMANDS.get(path.removeprefix(PREFIX))
    if command is None:
        return json_reply({"error": f"there is no control command {path}"}, 404)
    try:
        return json_reply(command(state, **json.loads(body.read() or b"{}")))
    except (S3Error, TypeError, ValueError) as error:
        return json_reply({"error": str(error)}, 400)


def _create_bucket(state: State, name: str, keep: bool, checksums: bool) -> None:
    state.store.create_bucket(name, keep=keep, checksums=checksums)


def _declare(
    state: State, bucket: str, objects: list[tuple[str, int]], checksum: str | None, part_size: int | None
) -> None:
    algorithm = None if checksum is None else checksum_header(checksum)
    if checksum is not None and algorithm is None:
        raise ValueError(f"checksum {checksum!r}: S3 has no such checksum")
    if part_size is not None and (part_size < 1 or algorithm is None or not can_be(algorithm, COMPOSITE)):
        raise ValueError(f"checksum {checksum!r} of parts of {part_size} bytes: S3 has no such checksum")
    state.store.declare(state.store.bucket(bucket), objects, algorithm, part_size)


def _checksums(state: State, bucket: str, prefix: str) -> dict[str, Any]:
    with state.store.lock:
        listed = state.store.bucket(bucket)
        objects = [(key, listed.object(key)) for key in listed.sorted_keys() if key.startswith(prefix)]
    return {
        key: {
            "size": stored.size,
            "crc64nvme": encoded_crc64nvme(stored.crc),
            "etag": stored.etag,
            "headers": stored.headers,
        }
        for key, stored in objects
    }


def _discard(state: State, bucket: str, prefix: str) -> int:
    return state.store.discard(bucket, prefix)


def _stats(state: State) -> dict[str, Any]:
    return state.activity.counters()


def _request_log(state: State) -> list[dict[str, Any]]:
    return state.activity.log()


def _reset_stats(state: State) -> None:
    state.activity.reset()


def _set_model(state: State, model: str, seed: int) -> None:
    state.network = Network(NetworkModel.parse(model, seed))


def _set_faults(state: State, faults: list[dict[str, Any]], seed: int, ignored_prefix: str = "") -> None:
    rules = [Fault(**fields) for fields in faults]
    state.faults = FaultPlan(rules, seed, ignored_prefix) if rules else None


def _faults_struck(state: State) -> list[int]:
    plan = state.faults
    return plan.struck() if plan else []


def _cut_connections(state: State) -> int:
    return state.connections.cut()


COMMANDS: dict[str, Callable[..., Any]] = {
    "create-bucket": _create_bucket,
    "declare": _declare,
    "checksums": _checksums,
    "discard": _discard,
    "stats": _stats,
    "request-log": _request_log,
    "reset-stats": _reset_stats,
    "model": _set_model,
    "set-faults": _set_faults,
    "faults": _faults_struck,
    "cut-connections": _cut_connections,
}
