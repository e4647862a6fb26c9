"""What an error holds on to while a report keeps it: frames, replies, connections; removed before."""

import math
import sys
from typing import Any

from asyncstream.errors import AsyncstreamError, ConnectionFailed

# Bytes that an error of another library may hold to stay the cause of one of ours.
MOST_HELD = 4_000
MOST_CAUSES = 10


def drop_tracebacks(error: BaseException) -> None:
    """Have an error that is kept, and all that led to it, hold no frames: those hold what was worked on."""
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
    """Remove from an error that is kept, and from its causes, all that is large: frames first of all.

    A cause that holds anything but a little text is removed with its own causes: `AttributeError` holds the
    object, `UnicodeDecodeError` the bytes, an HTTP library's error the connection. The message of the error
    that was raised from it says what it was.
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
    # A larger one has fields of its own in C, of which only OSError's are known to be text and numbers.
    plain = ConnectionFailed if isinstance(error, OSError) else AsyncstreamError
    return type(error).__basicsize__ <= plain.__basicsize__ and _held((error.args, vars(error))) <= MOST_HELD


def _held(value: Any, depth: int = 6) -> float:
    """Return the bytes that text, numbers and what is made of them hold; infinity for anything else."""
    kind = type(value)
    if kind in {str, bytes, int, float, bool, type(None)}:
        return sys.getsizeof(value)
    if kind not in {dict, list, tuple} or not depth:
        return math.inf
    within = [*value, *value.values()] if kind is dict else value
    return sys.getsizeof(value) + sum(_held(each, depth - 1) for each in within)
