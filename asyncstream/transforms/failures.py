"""How an exception of a user's function is told: its kind, and the line of that function.

Nothing of the file's content is repeated: it may be secret, and messages end up in logs.
"""

import os
from pathlib import Path
from types import TracebackType

from asyncstream.errors import TransformError

_OWN = str(Path(__file__).parents[1])
_STDLIB = str(Path(os.__file__).parent)


def failed(where: str, error: BaseException) -> TransformError:
    """An exception as an error of the transform; to be raised from the exception itself.

    Callers catch every exception but KeyboardInterrupt: code that calls `sys.exit`, or a library that panics,
    ends its own file and not the process.

    Args:
        where: in the input.
        error: caught around the user's code.
    """
    if isinstance(error, TransformError) and type(error).__module__ == TransformError.__module__:
        return type(error)(f"{where}: {error}")
    place = user_place(error.__traceback__)
    return TransformError(f"{where}: {type(error).__name__}: {error}{place and f' ({place})'}")


def user_place(traceback: TracebackType | None) -> str:
    """Return the last line of the user's own code that ran, else of a library's, which says less; else ""."""
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
