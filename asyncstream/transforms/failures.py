"""Report an exception of a user's function by its type and the line of that function.

Messages do not repeat the content of the file: it may be secret, and messages end up in logs.
"""

import os
from pathlib import Path
from types import TracebackType

from asyncstream.errors import TransformError

_OWN = str(Path(__file__).parents[1])
_STDLIB = str(Path(os.__file__).parent)


def failed(where: str, error: BaseException) -> TransformError:
    """Return an exception as a TransformError, which the caller raises from that exception.

    Callers catch every exception except KeyboardInterrupt, so code that calls `sys.exit`, or a library that
    panics, fails only its own file and does not end the process.

    Args:
        where: the place in the input.
        error: the exception of the user's code.
    """
    if isinstance(error, TransformError) and type(error).__module__ == TransformError.__module__:
        return type(error)(f"{where}: {error}")
    place = user_place(error.__traceback__)
    return TransformError(f"{where}: {type(error).__name__}: {error}{place and f' ({place})'}")


def user_place(traceback: TracebackType | None) -> str:
    """Return the last line of the user's own code that ran; without one, a library's last line, or ""."""
    last = last_own = ""
    while traceback is not None:
        code = traceback.tb_frame.f_code
        if not code.co_filename.startswith(_OWN):
            last = f"{code.co_filename}:{traceback.tb_lineno} in {code.co_name}"
            if not (
                code.co_filename.startswith((_STDLIB, "<frozen")) or "/site-packages/" in code.co_filename
            ):
                last_own = last
        traceback = traceback.tb_next
    return last_own or last
