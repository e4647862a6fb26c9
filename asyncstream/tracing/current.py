"""The current span, for functions called by `map_concurrent`.

The pipeline does not need a current span, since every span is created by its parent. But a user's function
receives only an item.
"""

from contextvars import ContextVar

from asyncstream.ports import Span
from asyncstream.tracing.spans import UNTRACED

current: ContextVar[Span] = ContextVar("asyncstream_current_span", default=UNTRACED)


def current_span() -> Span:
    """Return the span of the item that `map_concurrent` called this function with, on every engine.

    `with current_span().child("parse"):` adds a child span. `current_span().annotate(url=url)` adds an
    annotation that X-Ray can search for. Without a trace or outside of such a function, the span does
    nothing.
    """
    return current.get()
