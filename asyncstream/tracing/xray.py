"""Convert spans to X-Ray documents and send them to its daemon. Only this module imports the SDK.

It uses the SDK's documents, daemon protocol and trace header, but not its recorder. The recorder's context
has one current entity, which is wrong if several files are transferred at once, on threads as well as on
asyncio (see tests/functional/tracing/test_tracing_stock_context.py). The recorder belongs to the user; this
module only reads its current entity and uses its emitter.
"""

import json
from collections.abc import Mapping
from typing import Any

from aws_xray_sdk.core import xray_recorder
from aws_xray_sdk.core.lambda_launcher import LambdaContext
from aws_xray_sdk.core.models.segment import Segment
from aws_xray_sdk.core.models.subsegment import Subsegment
from aws_xray_sdk.core.models.throwable import Throwable
from aws_xray_sdk.core.models.trace_header import TraceHeader
from aws_xray_sdk.core.models.traceid import TraceId
from msgspec import Struct

from asyncstream.ports import Annotation
from asyncstream.tracing.spans import RecordedSpan, Recording

# The most bytes of an annotation or error message. A key can have 1,024 characters and an error any number,
# but neither is worth a hundredth of a trace.
MAX_BYTES = 300
NAMESPACE = "asyncstream"


class Parent(Struct, frozen=True):
    """The parent of a trace's root. `entity_id` is None if there is only a trace ID yet."""

    trace_id: str
    entity_id: str | None
    sampled: bool


def open_elsewhere() -> Parent | None:
    """Return the entity that the SDK's own recorder has open; None if there is none."""
    context = xray_recorder.context
    if isinstance(context, LambdaContext):
        context.get_trace_entity()  # clears entities that the previous invocation left open
    # With other contexts, `get_trace_entity` would log an error if nothing is open.
    # https://github.com/aws/aws-xray-sdk-python/blob/2.15.0/aws_xray_sdk/core/context.py#L32
    entities = getattr(context._local, "entities", None)  # noqa: SLF001
    if not entities:
        return None
    return Parent(entities[-1].trace_id, entities[-1].id, bool(entities[-1].sampled))


def function_segment(environ: Mapping[str, str]) -> Parent | None:
    """Return the segment of the Lambda function in this invocation; None if there is none."""
    header = TraceHeader.from_header_str(environ.get("_X_AMZN_TRACE_ID"))
    if not header.root or not header.parent:
        return None
    return Parent(header.root, header.parent, header.sampled == 1)


def new_trace() -> Parent:
    """Return a parent that starts a new trace."""
    return Parent(TraceId().to_id(), None, sampled=True)


def record(name: str, parent: Parent, annotations: dict[str, Annotation]) -> RecordedSpan:
    """Start a recording that sends its spans to X-Ray; return its root span."""
    return Recording(name, _Daemon(parent), annotations).root


class _Daemon:
    """Sends spans to X-Ray's daemon, each as a separate document that names its parent."""

    def __init__(self, parent: Parent) -> None:
        self._parent = parent
        self._segment = Segment(NAMESPACE, traceid=parent.trace_id)

    def send(self, span: RecordedSpan) -> int:
        """See `spans.Sender`."""
        document = self._document(span)
        document.parent_id = span.parent.id if span.parent else self._parent.entity_id
        # The recorder's emitter, so that a daemon address set in code or in the environment applies here,
        # too.
        xray_recorder.emitter.send_entity(document)
        return document.size

    def _document(self, span: RecordedSpan) -> "_Segment | _Subsegment":
        if span.parent is None and self._parent.entity_id is None:
            document: _Segment | _Subsegment = _Segment(span.name, traceid=self._parent.trace_id)
        else:
            document = _Subsegment(span.name, "local", self._segment)
        document.id = span.id
        document.start_time = span.started
        document.annotations = {name: _shortened(value) for name, value in span.annotations.items()}
        document.metadata = {NAMESPACE: span.metadata} if span.metadata else {}
        document.subsegments = [self._document(child) for child in span.children]
        if span.error is not None:
            document.fault = True
            cause = Throwable(None, [])
            cause.type, cause.message = span.error.kind, _beginning(span.error.message)
            document.cause = {"working_directory": "", "exceptions": [cause]}
        if span.ended is not None:
            document.end_time = span.ended
            document.in_progress = False
        return document


def _shortened(value: Annotation) -> Annotation:
    """Return the end of a long text, since the end of a key says more than its start."""
    if not isinstance(value, str) or _size(value) <= MAX_BYTES:
        return value
    return f"...{_beginning(value[::-1])[::-1]}"


def _beginning(text: str) -> str:
    """Return the start of a text, at most `MAX_BYTES` in a document."""
    most = MAX_BYTES
    while _size(text[:most]) > MAX_BYTES:
        most = most * 4 // 5
    return text[:most]


def _size(text: str) -> int:
    """Return the bytes of a text in a document, where each character that is not ASCII takes six or more."""
    return len(json.dumps(text))


class _Segment(Segment):  # type: ignore[misc]  # untyped
    size = 0

    def serialize(self) -> str:
        text: str = super().serialize()
        self.size = len(text)
        return text


class _Subsegment(Subsegment):  # type: ignore[misc]  # untyped
    size = 0

    def serialize(self) -> str:
        text: str = super().serialize()
        self.size = len(text)
        return text

    def to_dict(self) -> dict[str, Any]:
        """Return the document without the fields that its subsegments inherit, half of each subsegment."""
        fields: dict[str, Any] = super().to_dict()
        for child in fields.get("subsegments", ()):
            for name in ("trace_id", "type", "namespace", "in_progress"):
                child.pop(name, None)
        return fields
