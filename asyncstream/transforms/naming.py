"""Transforms by name, and by whatever a user gives: `factory`, for the configuration to check beforehand."""

import hashlib
import inspect
import zlib
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from functools import partial
from typing import Any

from asyncstream.errors import ConfigError
from asyncstream.transforms.codecs import Bunzip2, Gunzip, Unxz, Unzstd, Zstd
from asyncstream.transforms.gzip import Gzip
from asyncstream.transforms.importing import imported
from asyncstream.transforms.protocol import Factory, chain

_BUILT_IN: dict[str, Factory] = {
    "bunzip2": Bunzip2,
    "gunzip": Gunzip,
    "gzip": Gzip,
    "unxz": Unxz,
    "unzstd": Unzstd,
    "zstd": Zstd,
}
NAMES = tuple(_BUILT_IN)
_LONGEST_NAME = 256

# What a user may give: a name; a factory; a function of chunks; or several, one after another.
Spec = str | Callable[..., Any] | Sequence[str | Callable[..., Any]]


def factory(given: Spec) -> Factory:
    """What makes the transform that was asked for, made once to see that it can be.

    Args:
        given: a name as for `named`, or several with commas between; a callable that needs no argument, which
            is called for each file and returns an object with `feed` and `finish`; one that needs a single
            argument, which is called for each chunk, `bytes`, and returns `bytes` or an iterable of them; or
            a sequence of such.

    Raises:
        ConfigError: it is nothing of these, or making it failed.
    """
    if isinstance(given, Sequence) and not isinstance(given, str):
        return chain(*map(factory, given))
    if isinstance(given, str):
        return chain(*map(named, given.split(",")))
    return _checked(given, repr(given))


def named(spec: str) -> Factory:
    """The factory of a built-in transform, or that which "module:function" names.

    The function may also be a factory, as of `factory`: a class, or what `map_lines` returned.

    Raises:
        ConfigError: there is none of that name, or importing or making it failed.
    """
    if spec in _BUILT_IN:
        return _checked(_BUILT_IN[spec], repr(spec))
    found = imported(
        spec, "transform", f"one of {', '.join(NAMES)}, or a function of yours as module:function"
    )
    return _checked(found, repr(spec))


class _OfChunks:
    """A function that is called for each chunk, as a transform."""

    def __init__(self, function: Callable[[bytes], bytes | Iterable[bytes | memoryview]]) -> None:
        self._function = function

    def feed(self, chunk: bytes | memoryview) -> bytes | Iterable[bytes | memoryview]:
        return self._function(bytes(chunk))

    def finish(self) -> bytes:
        return b""


def _checked(given: Any, told: str) -> Factory:
    if _is_transform(given) and not isinstance(given, type):
        raise ConfigError(f"transform {told} is one object for all files: give what makes one, as its class")
    needed = _needed(given, told)
    if needed == 1 and not isinstance(given, type):
        return lambda: _OfChunks(given)
    if needed:
        raise ConfigError(
            f"transform {told} needs {needed} arguments: a factory needs none, a function of chunks one; "
            "functools.partial gives the others"
        )
    try:
        made = given()
    except (ConfigError, KeyboardInterrupt):
        raise
    except BaseException as error:  # a user's code, which may call sys.exit
        raise ConfigError(f"transform {told} cannot be made: {type(error).__name__}: {error}") from error
    if not _is_transform(made):
        raise ConfigError(
            f"transform {told} needs no argument, so that it should make an object with feed and finish; "
            f"it made a {type(made).__name__}"
        )
    new: Factory = given
    return new


def _needed(given: Any, told: str) -> int:
    """How many arguments it cannot be called without."""
    if not callable(given):
        raise ConfigError(f"transform {told} is neither a name nor callable")
    if inspect.iscoroutinefunction(given) or inspect.isasyncgenfunction(given):
        raise ConfigError(f"transform {told} is asynchronous: transforms do no I/O, give a plain function")
    try:
        parameters = inspect.signature(given).parameters.values()
    except (TypeError, ValueError) as error:
        raise ConfigError(
            f"transform {told} does not say what arguments it takes: wrap it in a function"
        ) from error
    variadic = inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD
    needed = [p for p in parameters if p.default is p.empty and p.kind not in variadic]
    if any(p.kind is p.KEYWORD_ONLY for p in needed):
        raise ConfigError(f"transform {told} needs arguments by keyword: functools.partial gives them")
    return len(needed)


def _is_transform(given: Any) -> bool:
    return callable(getattr(given, "feed", None)) and callable(getattr(given, "finish", None))


def name_of(given: Spec) -> str:
    """What a transform is called in what is kept of it, in ASCII: as it was given, else by its function.

    Of a `functools.partial`, as `map_lines` returns, the name tells what was given to it, too: functions by
    their names, all else by a number that is made of it, as it may be secret. So it is with what a function
    has of where it was made, and what an object has. A lambda is told by its line. What a function does is
    not told: whoever changes it gives it another name, or with `if_exists="skip"` what it made before stays.
    What is longer than 256 characters ends with a number of it: the metadata of an object hold 2 KB in all.
    """
    name = _name_of(given).encode("ascii", "backslashreplace").decode()
    if len(name) <= _LONGEST_NAME:
        return name
    return f"{name[: _LONGEST_NAME - 33]}~{hashlib.sha256(name.encode()).hexdigest()[:32]}"


def _name_of(given: Any) -> str:
    if isinstance(given, str):
        return given
    if isinstance(given, Sequence):
        return ",".join(map(_name_of, given))
    if isinstance(given, partial):
        bound = [*map(_name_of_bound, given.args)]
        bound += [f"{name}={_name_of_bound(value)}" for name, value in sorted(given.keywords.items())]
        return f"{_name_of(given.func)}({';'.join(bound)})"
    kind = given if hasattr(given, "__qualname__") else type(given)
    name = f"{kind.__module__}:{kind.__qualname__}"
    if "<lambda>" in name:
        name = f"{name}:{kind.__code__.co_firstlineno}"
    held = _held(given)
    return f"{name}:{_number_of(held)}" if held else name


def _name_of_bound(value: Any) -> str:
    if callable(value) or (isinstance(value, tuple) and all(map(callable, value))):
        return _name_of(value)
    return _number_of(_told(value))


def _number_of(told: Any) -> str:
    return f"{zlib.crc32(repr(told).encode()):x}"


def _held(given: Any) -> list[Any]:
    """What else than its code decides what a callable makes: what it closes over, defaults, its object."""
    held = []
    for cell in getattr(given, "__closure__", None) or ():
        with suppress(ValueError):  # of what was never set
            held.append(cell.cell_contents)
    held += getattr(given, "__defaults__", None) or ()
    held += sorted((getattr(given, "__kwdefaults__", None) or {}).items())
    owner = getattr(given, "__self__", None) if hasattr(given, "__qualname__") else given
    if owner is not None and not inspect.ismodule(owner):
        held.append(owner)
    return [_told(each) for each in held]


def _told(value: Any) -> Any:
    """What tells a value from others in every process: where it lies in memory is another in each."""
    if hasattr(value, "__qualname__"):
        return value.__qualname__
    if repr(value) == object.__repr__(value) and hasattr(value, "__dict__"):
        return type(value).__qualname__, sorted(vars(value).items())
    return value
