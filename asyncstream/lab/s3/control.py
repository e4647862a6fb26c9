"""The control API under /_lab/, a path no bucket can have: what `LabS3` asks for; called by connection.py."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from asyncstream.lab.s3.checksums import COMPOSITE, can_be, encoded_crc64nvme, header_of
from asyncstream.lab.s3.faults import Fault, FaultPlan
from asyncstream.lab.s3.model import Network, NetworkModel
from asyncstream.lab.s3.replies import Reply, S3Error, json_reply

if TYPE_CHECKING:
    from collections.abc import Callable

    from asyncstream.lab.s3.body import Body
    from asyncstream.lab.s3.server import Server

PREFIX = "/_lab/"


def answer(server: Server, path: str, body: Body) -> Reply:
    """Run one control command; its arguments are a JSON object."""
    command = COMMANDS.get(path.removeprefix(PREFIX))
    if command is None:
        return json_reply({"error": f"no control command {path}"}, 404)
    try:
        return json_reply(command(server, **json.loads(body.read() or b"{}")))
    except (S3Error, TypeError, ValueError) as error:
        return json_reply({"error": str(error)}, 400)


def _create_bucket(server: Server, name: str, keep: bool, checksums: bool) -> None:
    server.store.create_bucket(name, keep=keep, checksums=checksums)


def _declare(
    server: Server, bucket: str, objects: list[tuple[str, int]], checksum: str | None, part_size: int | None
) -> None:
    algorithm = None if checksum is None else header_of(checksum)
    if checksum is not None and algorithm is None:
        raise ValueError(f"checksum {checksum!r}: not one that S3 knows")
    if part_size is not None and (part_size < 1 or algorithm is None or not can_be(algorithm, COMPOSITE)):
        raise ValueError(f"checksum {checksum!r} of parts of {part_size} bytes: not one that S3 knows")
    server.store.declare(server.store.bucket(bucket), objects, algorithm, part_size)


def _checksums(server: Server, bucket: str, prefix: str) -> dict[str, Any]:
    with server.store.lock:
        listed = server.store.bucket(bucket)
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


def _discard(server: Server, bucket: str, prefix: str) -> int:
    return server.store.discard(bucket, prefix)


def _stats(server: Server) -> dict[str, Any]:
    return server.activity.counters()


def _request_log(server: Server) -> list[dict[str, Any]]:
    return server.activity.log()


def _reset_stats(server: Server) -> None:
    server.activity.reset()


def _set_model(server: Server, model: str, seed: int) -> None:
    server.network = Network(NetworkModel.parse(model, seed))


def _set_faults(server: Server, faults: list[dict[str, Any]], seed: int, ignored_prefix: str = "") -> None:
    rules = [Fault(**fields) for fields in faults]
    server.faults = FaultPlan(rules, seed, ignored_prefix) if rules else None


def _faults_struck(server: Server) -> list[int]:
    plan = server.faults
    return plan.struck() if plan else []


def _cut_connections(server: Server) -> int:
    return server.connections.cut()


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
