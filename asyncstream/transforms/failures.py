"""What an exception in a user's function is told as: `failed`, called by the other files of the package.

Nothing of the file's content is repeated: it may be secret, and messages end up in logs.
"""

import os
from pathlib import Path
from types import TracebackType

from asyncstream.errors import TransformError

_OWN = str(Path(__file__).parents[1])
_STDLIB = str(Path(os.__file__).parent)


def failed(where: str, error: Exception) -> TransformError:
    """An exception as an error of the transform; to be raised from the exception itself.

    Args:
        where: in the input.
        error: caught around the user's code.
    """
    if isinstance(error, TransformError) and type(error).__module__ == TransformError.__module__:
        return type(error)(f"{where}: {error}")
    place = _place(error.__traceback__)
    return TransformError(f"{where}: {type(error).__name__}: {error}{place and f' ({place})'}")


def _place(traceback: TracebackType | None) -> str:
    """The last line of the user's own that was under way: a library's says less. Empty if there is none."""
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
