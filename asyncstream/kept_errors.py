"""Make an error light before a report keeps it: remove the frames, replies and connections it refers to."""

import math
import sys
from typing import Any

from asyncstream.errors import AsyncstreamError, ConnectionFailed

# An error of another library stays the cause of one of ours if it holds at most this many bytes.
MAX_HELD = 4_000
MOST_CAUSES = 10


def drop_tracebacks(error: BaseException) -> None:
    """Remove the tracebacks of an error and all its causes, whose frames keep local variables alive."""
    seen: set[int] = set()
    left = [error]
    while left:
        each = left.pop()
        if id(each) in seen:
            continue
        seen.add(id(each))
        each.__traceback__ = None
        left += [follows for follows in (each.__cause__, each.__context__) if follows is not None]
        left += each.exceptions if isinstance(each, BaseExceptionGroup) else ()


def lighten(error: BaseException) -> None:
    """Remove tracebacks and everything large from an error and its causes.

    A cause that holds anything other than a little text is removed together with its own causes:
    `AttributeError` holds the object, `UnicodeDecodeError` the bytes, an HTTP library's error the connection.
    The message of the error that was raised from it says what the cause was.
    """
    drop_tracebacks(error)
    for left in reversed(range(MOST_CAUSES)):
        cause = error.__cause__
        if cause is None and not error.__suppress_context__:
            cause = error.__context__
        else:
            error.__context__ = None
        if cause is None:
            return
        if not left or not _is_light(cause):
            error.__cause__ = error.__context__ = None
            return
        error = cause


def _is_light(error: BaseException) -> bool:
    # A larger exception type has its own C fields. Only OSError's are known to be text and numbers.
    plain = ConnectionFailed if isinstance(error, OSError) else AsyncstreamError
    return type(error).__basicsize__ <= plain.__basicsize__ and _held((error.args, vars(error))) <= MAX_HELD


def _held(value: Any, depth: int = 6) -> float:
    """Return the bytes that text, numbers and containers of them take; infinity for anything else."""
    kind = type(value)
    if kind in {str, bytes, int, float, bool, type(None)}:
        return sys.getsizeof(value)
    if kind not in {dict, list, tuple} or not depth:
        return math.inf
    within = [*value, *value.values()] if kind is dict else value
    return sys.getsizeof(value) + sum(_held(each, depth - 1) for each in within)
