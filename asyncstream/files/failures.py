"""Convert the errors of the file system into asyncstream's, and refuse what is not a regular file."""

import os
import stat

from asyncstream.errors import AccessDenied, AsyncstreamError, FileError, InputError, SourceNotFound


def explain(error: OSError, what: str) -> AsyncstreamError:
    """Return asyncstream's error for one of the file system's.

    Args:
        error: the error of the file system.
        what: what could not be done, with the path: "reading /tmp/x".
    """
    reason = error.strerror or type(error).__name__
    match error:
        case FileNotFoundError():
            return SourceNotFound(f"{what}: there is no such file")
        case PermissionError():
            return AccessDenied(f"{what}: {reason}. Run as a user who may, or change the file's permissions")
        case IsADirectoryError():
            return InputError(f"{what}: it is a folder. Name a file, or end both sides with a slash")
        case _:
            return FileError(f"{what}: {reason}")


def check_regular(facts: os.stat_result, place: object, instead: str) -> None:
    """Check that a path leads to a regular file.

    Args:
        facts: the result of `stat`.
        place: the path, for the message.
        instead: what to do with a device, a pipe or a socket, as an imperative.

    Raises:
        IsADirectoryError: it is a folder.
        InputError: it is a device, a pipe or a socket.
    """
    if stat.S_ISDIR(facts.st_mode):
        raise IsADirectoryError
    if not stat.S_ISREG(facts.st_mode):
        raise InputError(f"{place} is not a regular file: {instead}")
