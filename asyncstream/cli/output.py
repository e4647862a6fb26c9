"""Standard output and error of the command line, for every reader and every locale."""

import io
import os
import sys
from collections.abc import Iterable
from typing import Any


class _Tolerant(io.FileIO):
    """A file that accepts what it can no longer write, because the reader has closed the pipe.

    A reader such as `head` has then read enough. The command still ends its work, and its exit code is that
    of the work.
    """

    def write(self, data: Any, /) -> int:
        try:
            return super().write(data)
        except BrokenPipeError:
            return len(data)


def prepare_streams() -> None:
    """Make the process's output survive a closed pipe and characters that its encoding lacks.

    Such characters are written as escapes: an "é" is `\\xe9` in ASCII. A stream that the process was started
    without becomes the null device. Otherwise a socket would get its number, and `print` would write messages
    for standard error to standard output.
    """
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        stream = getattr(sys, name)
        if stream is None:
            setattr(sys, name, open(os.devnull, mode))  # noqa: SIM115, PTH123 - until the process ends
        if mode == "r" or not isinstance(stream, io.TextIOWrapper):
            continue
        buffer = io.BufferedWriter(_Tolerant(stream.fileno(), "wb", closefd=False))
        prepared = io.TextIOWrapper(
            buffer,
            encoding=stream.encoding,
            errors="backslashreplace",
            line_buffering=stream.line_buffering,
            write_through=stream.write_through,
        )
        setattr(sys, name, prepared)


def say(line: str) -> None:
    """Print a message for the user to standard error."""
    print(line, file=sys.stderr, flush=True)  # noqa: T201 - messages of the command line


def decode(arguments: Iterable[str]) -> list[str]:
    """Return arguments as UTF-8, which keys have, in place of what Python read in an ASCII locale.

    An argument that is not UTF-8 stays as it is, and is refused where it is used.
    """
    decoded = []
    for argument in arguments:
        try:
            decoded.append(os.fsencode(argument).decode())
        except UnicodeError:
            decoded.append(argument)
    return decoded
