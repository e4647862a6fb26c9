"""Convert an event's JSON to a type, with errors that say where the event is wrong.

An event may contain a customer's encryption key (`extra_args`), in the right place or elsewhere. So error
messages never repeat a whole value of an event: `shown` returns short texts and numbers only, and
`without_keys` removes keys from values that a reply returns.
"""

import json
from collections.abc import Callable
from typing import Any, TypeVar

import msgspec

from asyncstream.errors import InputError
from asyncstream.shown import MAX_SHOWN

T = TypeVar("T")

# The JSON that requests and replies may contain. (msgspec writes NaN as null.)
_STRICT = json.JSONEncoder(ensure_ascii=False, allow_nan=False)


def read(
    value: Any,
    kind: type[T],
    what: str = "the event",
    message: Callable[[msgspec.ValidationError], str] = str,
) -> T:
    """Convert a value to a type, after checking that requests and replies can contain it.

    Args:
        value: parsed JSON.
        kind: the type to convert to.
        what: the name of the value in error messages.
        message: returns the text of an error. If the text ends with a path, that is cut off.

    Raises:
        InputError: a field is unknown, missing or of the wrong type; the message names its path. Or the value
            has a text with half of a surrogate pair, has NaN or an infinity, or is nested too deeply.
    """
    try:
        _STRICT.encode(value).encode()
    except UnicodeEncodeError:
        raise InputError(f"{what} has a text with half of a surrogate pair: send valid Unicode") from None
    except (TypeError, ValueError):
        raise InputError(f"{what} has a value that JSON does not have, such as NaN: leave it out") from None
    except RecursionError:
        raise InputError(f"{what} is nested too deeply: send fewer levels") from None
    return convert(value, kind, what, message)


def convert(
    value: Any,
    kind: type[T],
    what: str = "the event",
    message: Callable[[msgspec.ValidationError], str] = str,
) -> T:
    """Convert a value to a type, without the checks of texts and numbers that `read` makes first.

    The caller reads the parts of the value one by one, so that each can fail alone. See `read` for arguments
    and errors.
    """
    try:
        return msgspec.convert(value, kind)
    except msgspec.ValidationError as error:
        path = str(error).partition(" - at ")[2].strip("`") or "$"
        reason = message(error).partition(" - at ")[0]
        raise InputError(f"{what} is malformed at {path:.{2 * MAX_SHOWN}}: {reason:.500}") from None
    except UnicodeEncodeError:  # raised by msgspec, when its message names an unknown field
        raise InputError(f"{what} has a field whose name has half of a surrogate pair") from None


def at(path: str, make: Callable[..., T], *args: Any) -> T:
    """Return what `make` returns for a value of the event. Adds the value's path to its InputError."""
    try:
        return make(*args)
    except InputError as error:
        raise InputError(f"the event is malformed at {path}: {error}") from None
