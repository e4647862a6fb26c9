"""JSON that somebody sent as a type of ours, with errors that say where it is wrong; used by all events."""

from collections.abc import Callable
from typing import Any, TypeVar

import msgspec

from asyncstream.config import explained
from asyncstream.errors import InputError

T = TypeVar("T")


def read(value: Any, kind: type[T], what: str = "the event") -> T:
    """The value as that type.

    Raises:
        InputError: a field is unknown, missing or of the wrong type; the message names its path.
    """
    try:
        return msgspec.convert(value, kind)
    except msgspec.ValidationError as error:
        _, told = explained(error)
        path = str(error).partition(" - at ")[2].strip("`") or "$"
        raise InputError(f"{what} is malformed at {path}: {told.partition(' - at ')[0]}") from None


def at(path: str, make: Callable[..., T], *args: str | None) -> T:
    """What `make` makes of a value of the event; its InputError says where the value stands."""
    try:
        return make(*args)
    except InputError as error:
        raise InputError(f"the event is malformed at {path}: {error}") from None
