"""Read JSON of an event as a type of ours, with errors that say where it is wrong.

An event may hold a customer's key (`extra_args`), at the right place or at another. So no message repeats a
value of an event as a whole: `shown` has texts only, and `without_keys` what a reply returns of it.
"""

import json
from collections.abc import Callable
from typing import Any, TypeVar

import msgspec

from asyncstream.errors import InputError

T = TypeVar("T")

# Characters that a message repeats of a text.
MOST_SHOWN = 100
# In the names that extra_args give keys by, and in mistyped ones.
_KEY = "CustomerKey"
# As a request or a reply has it. (msgspec writes NaN as null.)
_STRICT = json.JSONEncoder(ensure_ascii=False, allow_nan=False)


def read(
    value: Any,
    kind: type[T],
    what: str = "the event",
    told: Callable[[msgspec.ValidationError], str] = str,
) -> T:
    """Return the value as that type, once it is known that a request and a reply can hold what is in it.

    Args:
        value: as JSON has it.
        kind: the type.
        what: is read.
        told: what an error says, of which the path is told apart.

    Raises:
        InputError: a field is unknown, missing or of the wrong type; the message names its path. Or there is
            half of a surrogate pair in a text, NaN or an infinity, or it is nested too deep.
    """
    try:
        _STRICT.encode(value).encode()
    except UnicodeEncodeError:
        raise InputError(f"{what} has a text with half of a surrogate pair: send valid Unicode") from None
    except (TypeError, ValueError):
        raise InputError(f"{what} has a value that JSON does not have, such as NaN: leave it out") from None
    except RecursionError:
        raise InputError(f"{what} is nested too deep: no event has so many levels") from None
    return shaped(value, kind, what, told)


def shaped(
    value: Any,
    kind: type[T],
    what: str = "the event",
    told: Callable[[msgspec.ValidationError], str] = str,
) -> T:
    """Return the value as that type. Its parts are to be read one by one, so that one can fail alone.

    Args, Raises: as `read`, but texts and numbers are not looked at.
    """
    try:
        return msgspec.convert(value, kind)
    except msgspec.ValidationError as error:
        path = str(error).partition(" - at ")[2].strip("`") or "$"
        said = told(error).partition(" - at ")[0]
        raise InputError(f"{what} is malformed at {path:.{2 * MOST_SHOWN}}: {said:.500}") from None
    except UnicodeEncodeError:  # msgspec names an unknown field
        raise InputError(f"{what} has a field whose name has half of a surrogate pair") from None


def shown(value: Any) -> str:
    """Return what messages say of a value: the beginning of a text or number; of all else the type."""
    if value is None or isinstance(value, str | int | float):
        return f"{value!r:.{MOST_SHOWN}}"
    return f"a value of type {type(value).__name__}"


def without_keys(value: Any) -> Any:
    """Return a part of an event, with None for each customer's key in it and for a JSON text that has one."""
    if isinstance(value, dict) and all(isinstance(each, str) for each in value.values()):
        return _without_keys(value)  # as most are: plain texts
    try:
        return json.loads(json.dumps(value), object_hook=_without_keys) if not _has_key(value) else None
    except RecursionError:
        return None


def _without_keys(fields: dict[str, Any]) -> dict[str, Any]:
    return {name: None if _KEY in name or _has_key(value) else value for name, value in fields.items()}


def _has_key(value: Any) -> bool:
    return isinstance(value, str) and value.startswith(("{", "[")) and _KEY in value


def at(path: str, make: Callable[..., T], *args: str | None) -> T:
    """What `make` makes of a value of the event; its InputError says where the value stands."""
    try:
        return make(*args)
    except InputError as error:
        raise InputError(f"the event is malformed at {path}: {error}") from None
