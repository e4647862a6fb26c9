"""A deadline leaves a pack pending, and another engine continues it, if its files are the same."""

from collections.abc import Callable, Mapping
from contextlib import closing
from typing import Any

import pytest

from asyncstream import (
    KiB,
    MiB,
    S3Object,
    S3Prefix,
    TransferConfig,
    TransferReport,
    TransferSession,
)
from asyncstream.engines import ENGINES, EngineName
from asyncstream.pipeline import clients
from asyncstream.pipeline.progress import BytesMoved
from tests.servers import Bucket, S3Server, content

from .clocks import Clock
from .fixture_types import Copy, Keep, Put
from .test_packs import READ, into_archives

pytestmark = pytest.mark.parametrize("server", ["lab"], indirect=True)
LARGE = {"a": content(7 * MiB, 1), "b": content(100, 2), "c": content(6 * MiB, 3)}
MANY = {f"{number:04}": content(124 * KiB + number, number) for number in range(100)}
of_both_files = pytest.mark.parametrize("files", [LARGE, MANY], ids=["large", "many"])
Stop = Callable[..., TransferReport]


@pytest.fixture
def stop(copy: Copy, monkeypatch: pytest.MonkeyPatch) -> Stop:
    """Pack until a third part is read; then the time is up."""

    def run(pair: Any) -> TransferReport:
        clock, moved = Clock(), 0

        def on_event(event: object) -> None:
            nonlocal moved
            moved += event.bytes if isinstance(event, BytesMoved) else 0
            clock.now = 1000.0 * (moved > 10 * MiB)

        with monkeypatch.context() as patch:
            patch.setattr(clients, "time", clock)
            return copy([pair], on_event, deadline=500.0, at_deadline="pending", max_concurrency=2)

    return run


def go_on(engine: EngineName, server: S3Server, pair: Any, stopped: TransferReport) -> TransferReport:
    """Continue a pack by another engine, in a session that knows nothing of the first."""
    other = ENGINES[ENGINES.index(engine) - 1]
    with closing(TransferSession(other, endpoint_url=server.endpoint_url)) as session:
        return session.transfer(
            [pair], TransferConfig(part_size=5 * MiB), continuations=stopped.continuations
        )


@of_both_files
@into_archives
def test_another_engine_continues_a_pack(
    stop: Stop,
    engine: EngineName,
    server: S3Server,
    keep: Keep,
    bucket: Bucket,
    files: Mapping[str, bytes],
    into: Any,
) -> None:
    pair = keep(files), into(S3Object(bucket.name, "out"))
    stopped = stop(pair)
    [pending] = stopped.files
    assert pending.status == "pending"
    assert not bucket.keys("out")
    report = go_on(engine, server, pair, stopped)
    [result] = report.files
    assert (result.error, result.restarted) == (None, None)
    [left] = stopped.continuations.values()
    confirmed = sum(run.last - run.first + 1 for run in left.runs)
    assert confirmed or files is MANY  # whose parts are read ahead
    assert report.requests["UploadPart"] == 3 - confirmed
    assert READ[into](bucket.get("out")) == files
    assert bucket.uploads() == []


@of_both_files
@into_archives
@pytest.mark.parametrize("change", ["added", "overwritten", "removed"])
@pytest.mark.varied("change", "into", "files", engine="threads")
def test_other_files_start_the_pack_again(
    stop: Stop,
    engine: EngineName,
    server: S3Server,
    put: Put,
    bucket: Bucket,
    files: Mapping[str, bytes],
    into: Any,
    change: str,
) -> None:
    put(files)
    pair = S3Prefix(bucket.name, "in/"), into(S3Object(bucket.name, "out"))
    stopped = stop(pair)
    assert stopped.count("pending") == 1
    now = dict(files)
    last = max(now)
    if change == "removed":
        del now[last]
        bucket.client.delete_object(Bucket=bucket.name, Key=f"in/{last}")
    else:
        changed = "new" if change == "added" else last
        now[changed] = content(len(files[last]), "changed")
        put({changed: now[changed]})
    [result] = go_on(engine, server, pair, stopped).files
    assert result.error is None
    assert result.restarted is not None
    assert READ[into](bucket.get("out")) == now
    assert bucket.uploads() == []
