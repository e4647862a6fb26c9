"""A web service, called with 200 requests at once, each of which copies one object.

It is an ASGI app on uvloop. It is called directly, without a server of its own, whose cost both would share.
"""
# ruff: noqa: PLC0415

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Iterator

    from tests.benchmarks.peers import Copy, Peer, Task

IN_FLIGHT = 200


@contextmanager
def asyncstream(task: Task) -> Iterator[Copy]:
    """A web service on uvloop in which each request copies one object, by a session that all share."""
    from asyncstream import AsyncTransferSession, S3Object

    async def app(scope: Any, _receive: Any, send: Any) -> None:
        key = scope["path"]
        report = await session.transfer([(S3Object(task.source, key), S3Object(task.destination, key))])
        report.raise_for_failures()
        await _reply(send)

    with _uvloop() as runner:
        session = AsyncTransferSession()
        runner.run(session.__aenter__())
        runner.run(session.open())
        yield lambda: runner.run(_requests(app, task))
        runner.run(session.__aexit__(None, None, None))


def aiobotocore(**settings: Any) -> Peer:
    """The same service with aiobotocore: get, read, put, over one client."""

    @contextmanager
    def peer(task: Task) -> Iterator[Copy]:
        from aiobotocore.config import AioConfig
        from aiobotocore.session import get_session

        async def app(scope: Any, _receive: Any, send: Any) -> None:
            key = scope["path"]
            reply = await s3.get_object(Bucket=task.source, Key=key)
            await s3.put_object(Bucket=task.destination, Key=key, Body=await reply["Body"].read())
            await _reply(send)

        with _uvloop() as runner:
            client = get_session().create_client("s3", config=AioConfig(**settings))
            s3 = runner.run(client.__aenter__())
            yield lambda: runner.run(_requests(app, task))
            runner.run(client.__aexit__(None, None, None))

    return peer


def _uvloop() -> asyncio.Runner:
    import asyncio

    import uvloop

    return asyncio.Runner(loop_factory=uvloop.new_event_loop)


async def _requests(app: Any, task: Task) -> None:
    """Call an ASGI app as its server would, with a request for each object and `IN_FLIGHT` at once."""
    import asyncio

    async def client(paths: Iterator[str]) -> None:
        for path in paths:
            sent: list[int] = []

            async def send(message: dict[str, Any], sent: list[int] = sent) -> None:
                sent.append(message.get("status", 0))

            await app({"type": "http", "method": "POST", "path": path}, None, send)
            if sent != [204, 0]:
                raise RuntimeError(f"{path} was answered {sent}")

    paths = iter(task.keys)
    await asyncio.gather(*(client(paths) for _ in range(IN_FLIGHT)))


async def _reply(send: Any) -> None:
    await send({"type": "http.response.start", "status": 204, "headers": []})
    await send({"type": "http.response.body", "body": b""})
