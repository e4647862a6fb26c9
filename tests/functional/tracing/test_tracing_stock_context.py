"""Proof that the X-Ray SDK's own context makes a wrong tree, so asyncstream does not use its recorder.

The transfers and the checks are the same as in test_tracing.py, but each span asks the recorder for its
parent instead of knowing it.
"""

import asyncio
from collections.abc import Mapping
from types import TracebackType
from typing import Any, Self

import pytest
from aws_xray_sdk.core import AWSXRayRecorder
from aws_xray_sdk.core.async_context import AsyncContext
from aws_xray_sdk.core.context import Context
from aws_xray_sdk.core.exceptions.exceptions import AlreadyEndedException

from asyncstream import TransferConfig, tracing, transfer_async
from asyncstream.engines import EngineName
from asyncstream.lab.s3 import LabS3
from asyncstream.lab.xray import XRayReceiver

from .tracing_checks import PART, make_pairs, read, sent_to, trace_ids, transferred, violations


class StockSpan:
    """A span of the SDK's own recorder, which takes its context's current entity as the parent."""

    def __init__(self, recorder: AWSXRayRecorder, name: str, annotations: Mapping[str, Any]) -> None:
        self._recorder = recorder
        self._entity = recorder.begin_subsegment(name)
        self.annotate(**annotations)

    def expect(self, name: str, count: int) -> None:
        pass

    def branch(self, name: str, **annotations: Any) -> "StockSpan":
        return StockSpan(self._recorder, name, annotations)

    child = branch

    def annotate(self, **annotations: Any) -> None:
        for name, value in annotations.items():
            if self._entity is not None:
                self._entity.put_annotation(name, value)

    def end(self, error: BaseException | None = None) -> None:
        self._recorder.end_subsegment()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.end(error)


@pytest.mark.parametrize(
    ("engine", "context"), [("threads", Context), ("asyncio", Context), ("asyncio", AsyncContext)]
)
def test_the_stock_context_makes_a_wrong_tree(
    lab: LabS3,
    receiver: XRayReceiver,
    engine: EngineName,
    context: type[Context],
    monkeypatch: pytest.MonkeyPatch,
    request: pytest.FixtureRequest,
) -> None:
    sizes = dict.fromkeys(lab.declare_many("source", f"{engine}-{context.__name__}/", 10, 4 * PART), 4 * PART)
    recorder = AWSXRayRecorder()
    request.addfinalizer(recorder.emitter._socket.close)
    trace_id = ""

    def open_trace(**annotations: Any) -> StockSpan:
        nonlocal trace_id
        # Configured here because AsyncContext belongs to the running event loop.
        recorder.configure(context=context(), sampling=False, daemon_address=receiver.daemon_address)
        trace_id = recorder.begin_segment("asyncstream").trace_id
        return StockSpan(recorder, "asyncstream", annotations)

    async def program() -> None:
        config = TransferConfig(multipart=True, part_size=PART)
        await transfer_async(make_pairs(list(sizes)), config=config, endpoint_url=lab.endpoint_url)
        recorder.end_segment()

    monkeypatch.setattr(tracing, "open_trace", open_trace)
    with sent_to(receiver):
        try:
            if engine == "asyncio":
                asyncio.run(program())
            else:
                transferred(engine, lab, list(sizes), multipart=True, part_size=PART)
                recorder.end_segment()
        except AlreadyEndedException:
            return  # this is one way to be wrong
        receiver.settle()
        if trace_id not in trace_ids(receiver):
            return  # another way: nothing was sent at all
        assert violations(read(receiver, trace_id), sizes, 4) != []
