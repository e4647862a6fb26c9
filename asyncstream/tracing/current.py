"""The span of the item that a user's function was called with.

The pipeline has no use for it: there every span is made by its parent. But a user's function is given an
item, and nothing else.
"""

from contextvars import ContextVar

from asyncstream.ports import Span
from asyncstream.tracing.spans import UNTRACED

current: ContextVar[Span] = ContextVar("asyncstream_current_span", default=UNTRACED)


def current_span() -> Span:
    """The span of the item that this function was called with by `map_concurrent`, in every engine.

    `with current_span().child("parse"):` hangs a span under it, `current_span().annotate(url=url)` says what
    X-Ray can search for. It does nothing outside of such a function, and where nothing is traced.
    """
    return current.get()
