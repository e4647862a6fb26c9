"""Decode the JSON of a run's objects. Does no I/O."""

from collections.abc import Callable
from typing import TypeVar

import msgspec

T = TypeVar("T")


def decode(decoder: Callable[[bytes], T], content: bytes) -> T:
    """Return what a decoder makes of JSON.

    Raises:
        msgspec.DecodeError: it is malformed, of another type, or nested too deeply.
    """
    try:
        return decoder(content)
    except UnicodeDecodeError as error:
        raise msgspec.DecodeError(f"it is not UTF-8: {error.reason}") from None
    except RecursionError:
        raise msgspec.DecodeError("it is nested too deeply") from None
