"""A trace for display: a tree of spans."""

from typing import Any

from msgspec import Struct


class Span(Struct, frozen=True, kw_only=True):
    """One piece of work, and the spans within it, ordered by start.

    Attributes:
        id: X-Ray's ID, 16 hexadecimal digits.
        name: X-Ray's name.
        start: seconds since the epoch.
        end: seconds since the epoch; None while it is in progress, or if its end never arrived.
        annotations: searchable values: strings, numbers, booleans.
        metadata: other values, by namespace.
        error: the exception or fault that ended it, in one line.
        inferred: X-Ray inferred it from a caller's data, because the service itself sent nothing.
        kind: the resource that a segment ran on, such as `AWS::Lambda::Function`; else empty.
    """

    id: str
    name: str
    start: float
    end: float | None
    annotations: dict[str, str | int | float | bool] = {}
    metadata: dict[str, Any] = {}
    error: str | None = None
    inferred: bool = False
    kind: str = ""
    children: list["Span"] = []


class Trace(Struct, frozen=True, kw_only=True):
    """All spans of one invocation.

    Attributes:
        id: X-Ray's ID, such as `1-5759e988-bd862e3fe1be46a994272793`.
        roots: spans whose parent is not in the trace; usually one.
        limit_exceeded: X-Ray dropped documents, because the trace was larger than its limit.
        problems: errors while reading the documents, a line each.
    """

    id: str
    roots: list[Span]
    limit_exceeded: bool = False
    problems: list[str] = []
