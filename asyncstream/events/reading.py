"""JSON that somebody sent as a type of ours, with errors that say where it is wrong; used by all events."""

from collections.abc import Callable
from typing import Any, TypeVar

import msgspec

from asyncstream.errors import InputError

T = TypeVar("T")


def read(
    value: Any,
    kind: type[T],
    what: str = "the event",
    told: Callable[[msgspec.ValidationError], str] = str,
) -> T:
    """The value as that type.

    Args:
        value: as JSON has it.
        kind: the type.
        what: is read.
        told: what an error says, of which the path is told apart.

    Raises:
        InputError: a field is unknown, missing or of the wrong type; the message names its path.
    """
    try:
        return msgspec.convert(value, kind)
    except msgspec.ValidationError as error:
        path = str(error).partition(" - at ")[2].strip("`") or "$"
        raise InputError(f"{what} is malformed at {path}: {told(error).partition(' - at ')[0]}") from None


def at(path: str, make: Callable[..., T], *args: str | None) -> T:
    """What `make` makes of a value of the event; its InputError says where the value stands."""
    try:
        return make(*args)
    except InputError as error:
        raise InputError(f"the event is malformed at {path}: {error}") from None
