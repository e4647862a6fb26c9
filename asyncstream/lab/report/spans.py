"""A trace as it is shown: a tree of spans."""

from typing import Any

from msgspec import Struct


class Span(Struct, frozen=True, kw_only=True):
    """One piece of work, and the spans within it, in the order of their starts.

    Attributes:
        id: X-Ray's, 16 hexadecimal digits.
        name: what X-Ray calls it.
        start: seconds since the epoch.
        end: likewise; None while it is in progress, or if its end never arrived.
        annotations: what can be searched for: strings, numbers, booleans.
        metadata: anything else, by namespace.
        error: the exception or the fault that ended it, in one line.
        inferred: X-Ray made it up from what a caller told of a service that sent nothing itself.
        kind: of a segment the resource it ran on, such as `AWS::Lambda::Function`; else empty.
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
        id: X-Ray's, such as `1-5759e988-bd862e3fe1be46a994272793`.
        roots: spans whose parent is not in the trace; mostly one.
        limit_exceeded: the service dropped documents, as the trace was larger than it keeps.
        problems: what could not be read, a line each.
    """

    id: str
    roots: list[Span]
    limit_exceeded: bool = False
    problems: list[str] = []
