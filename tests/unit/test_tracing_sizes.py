"""Traces of up to ten thousand parts over UDP, from the real coordinator over an in-memory store."""

import time
from collections.abc import Iterator
from functools import partial

import pytest
from aws_xray_sdk.core import xray_recorder

from asyncstream.deadline import Deadline
from asyncstream.errors import ServiceBusy
from asyncstream.lab.xray import XRayReceiver, read_trace
from asyncstream.lab.xray.reading import all_spans
from asyncstream.locations import S3Object
from asyncstream.objects import MultipartUpload, Written
from asyncstream.pipeline import plan, progress
from asyncstream.pipeline.config import TransferConfig
from asyncstream.pipeline.context import TransferContext
from asyncstream.pipeline.coordinator import Coordinator
from asyncstream.pipeline.copying import CopyTasks
from asyncstream.pipeline.jobs import Job
from asyncstream.pipeline.reservations import Reservations
from asyncstream.ports import Body, Engine
from asyncstream.retry import Retrying
from asyncstream.tracing import xray

from .memory_store import SLOT_BYTES, MemoryStore, pause_under
from .transfers import ends_of

SOURCE, TARGET = S3Object("raw", "key"), S3Object("clean", "key")


class BusyStore(MemoryStore):
    """Refuses the first try of every part."""

    refused: set[int]

    async def upload_part(self, upload: MultipartUpload, number: int, start: int, body: Body) -> Written:
        if number not in self.refused:
            self.refused.add(number)
            raise ServiceBusy("503 Slow Down, " + "please come back later, " * 100)
        return await super().upload_part(upload, number, start, body)


@pytest.fixture(scope="module")
def receiver() -> Iterator[XRayReceiver]:
    emitter = xray_recorder.emitter
    before = f"{emitter.ip}:{emitter.port}"
    with XRayReceiver() as receiver:
        emitter.set_daemon_address(receiver.daemon_address)
        yield receiver
    emitter.set_daemon_address(before)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("engine", "store_type", "parts"),
    [
        ("sequential", MemoryStore, 1_000),
        ("threads", MemoryStore, 10_000),  # as many as S3 takes
        ("asyncio", MemoryStore, 1_000),
        ("threads", BusyStore, 1_000),
    ],
    indirect=["engine"],
)
def test_many_parts_make_a_trace_that_xray_keeps(
    engine: Engine, receiver: XRayReceiver, store_type: type[MemoryStore], parts: int
) -> None:
    config = TransferConfig(multipart=True, retry_base_delay=1e-6)
    store = store_type({SOURCE: bytes(parts)}, pause=pause_under(engine.name))
    if isinstance(store, BusyStore):
        store.refused = set()
    parent = xray.new_trace()
    deadline = Deadline(None, time.monotonic)
    before = receiver.settle()

    def coordinator() -> Coordinator:
        retrying = Retrying(config.retry_policy, deadline, engine.sleep)
        context = TransferContext(ends_of(store, retrying), engine, config, progress.ignore)
        work = CopyTasks(context, partial(plan.part_length, wanted=1))
        reservations = Reservations(8 * SLOT_BYTES, SLOT_BYTES, 0)
        return Coordinator(
            [Job(SOURCE, TARGET)], work, context, slots=8, reservations=reservations, span=root
        )

    with xray.record("asyncstream", parent, {}) as root:
        (result,) = engine.run(lambda: coordinator().run())
    assert (result.status, result.parts) == ("copied", parts)

    after = receiver.settle()
    assert after.bytes - before.bytes < 100_000
    assert after.largest < 64 * 1024
    assert after.dropped == 0
    api = receiver.client()
    trace = read_trace(api, parent.trace_id)
    api.close()
    assert trace is not None
    assert trace.problems == []
    spans = list(all_spans(trace.roots))
    shown = [span for span in spans if span.name == "part"]
    # The root twice, the file, and each part in the trace.
    assert after.received - before.received == len(shown) + 3
    assert len(shown) >= 30
    assert max(int(span.annotations["number"]) for span in shown) > parts / 2 or isinstance(store, BusyStore)
    metadata = trace.roots[0].metadata["asyncstream"]
    assert metadata["sampled"]["part"] == f"{len(shown)} of {parts}"
    tries = 2 * parts if isinstance(store, BusyStore) else parts
    # The request that learns the size also reads the first range; only a retry reads it again.
    assert metadata["summary"]["PUT"]["count"] == tries
    assert all(span.annotations.get("retries", 0) == tries // parts - 1 for span in shown)
