"""Convert the errors of the file system into asyncstream's."""

from asyncstream.errors import AccessDenied, AsyncstreamError, FileError, InputError, SourceNotFound


def explain(error: OSError, what: str) -> AsyncstreamError:
    """Return asyncstream's error for one of the file system's.

    Args:
        error: the file system's.
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
