"""Turn what users give as a transform into factories, and name transforms for the metadata of copies."""

import hashlib
import inspect
import os
import sys
import zlib
from collections.abc import Callable, Iterable, Sequence
from functools import partial, reduce
from typing import Any, TypeVar, cast

from asyncstream.errors import ConfigError
from asyncstream.transforms.codecs import Bunzip2, Gunzip, Unxz, Unzstd, Zstd
from asyncstream.transforms.gzip import Gzip
from asyncstream.transforms.importing import import_object
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
_F = TypeVar("_F", bound=Callable[..., Any])

# What a user may give as a transform: a name, a factory, a function of chunks, or a sequence of these.
Spec = str | Callable[..., Any] | Sequence[str | Callable[..., Any]]


def factory(given: Spec) -> Factory:
    """Return the factory of a transform after checking that it works once.

    Args:
        given: one of the following, or a sequence of them:
            - a name as for `named`, or several separated by commas;
            - a callable without required arguments, which is called for each file and returns an object with
              `feed` and `finish`;
            - a callable with one required argument, which is called with each chunk (`bytes`) and returns
              `bytes` or an iterable of them.

    Raises:
        ConfigError: it is none of these, or the factory failed.
    """
    if isinstance(given, Sequence) and not isinstance(given, str):
        return chain(*map(factory, given))
    if isinstance(given, str):
        return chain(*map(named, given.split(",")))
    return _check_factory(given, repr(given))


def named(spec: str) -> Factory:
    """Return the factory of a built-in transform, or of the one that "module:function" names.

    The function may also be a factory as in `factory`: a class, or the result of `map_lines`.

    Raises:
        ConfigError: there is no transform of that name, importing it failed, or the factory failed.
    """
    if spec in _BUILT_IN:
        return _check_factory(_BUILT_IN[spec], repr(spec))
    found = import_object(
        spec, "transform", f"one of {', '.join(NAMES)}, or a function of yours as module:function"
    )
    return _check_factory(found, repr(spec))


class _ChunkFunction:
    """A function that is called for each chunk, as a transform."""

    def __init__(self, function: Callable[[bytes], bytes | Iterable[bytes | memoryview]]) -> None:
        self._function = function

    def feed(self, chunk: bytes | memoryview) -> bytes | Iterable[bytes | memoryview]:
        return self._function(bytes(chunk))

    def finish(self) -> bytes:
        return b""


def _check_factory(given: Any, shown: str) -> Factory:
    """Return the factory of a transform after making one; messages call what the user gave `shown`."""
    if _is_transform(given) and not isinstance(given, type):
        raise ConfigError(f"transform {shown} is one object for all files: give a factory, such as its class")
    needed = _required_arguments(given, shown)
    if needed == 1 and not isinstance(given, type):
        return lambda: _ChunkFunction(given)
    if needed:
        raise ConfigError(
            f"transform {shown} needs {needed} arguments; a factory gets none and a function of chunks one: "
            "bind the others with functools.partial"
        )
    try:
        transform = given()
    except (ConfigError, KeyboardInterrupt):
        raise
    except BaseException as error:  # a user's code, which may call sys.exit
        raise ConfigError(f"transform {shown} cannot be made: {type(error).__name__}: {error}") from error
    if not _is_transform(transform):
        raise ConfigError(
            f"transform {shown} needs no argument, so it must return an object with feed and finish; "
            f"it returned a {type(transform).__name__}"
        )
    new: Factory = given
    return new


def _required_arguments(given: Any, shown: str) -> int:
    """Return the number of required arguments."""
    if not callable(given):
        raise ConfigError(
            f"transform {shown} is neither a name nor callable: give a name, a function or a class"
        )
    if inspect.iscoroutinefunction(given) or inspect.isasyncgenfunction(given):
        raise ConfigError(f"transform {shown} is asynchronous: transforms do no I/O, give a plain function")
    try:
        parameters = inspect.signature(given).parameters.values()
    except (TypeError, ValueError) as error:
        raise ConfigError(
            f"transform {shown} does not say what arguments it takes: wrap it in a function"
        ) from error
    variadic = inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD
    needed = [p for p in parameters if p.default is p.empty and p.kind not in variadic]
    if any(p.kind is p.KEYWORD_ONLY for p in needed):
        raise ConfigError(f"transform {shown} needs arguments by keyword: bind them with functools.partial")
    return len(needed)


def _is_transform(given: Any) -> bool:
    return callable(getattr(given, "feed", None)) and callable(getattr(given, "finish", None))


class _Named(partial[Any]):
    """The result of `with_name`."""

    name: str


def with_name(name: str, function: _F) -> _F:
    """Return a function or factory with a name by which `if_exists="skip"` recognises its copies.

    A lambda, a nested function, a method and an object need a name. Change the name if their output changes,
    since only the name decides whether an existing copy is kept.

    Args:
        name: any printable text without spaces at its ends.
        function: a factory of a transform, or a function of chunks, lines or records. It is not changed.

    Raises:
        ConfigError: the name is empty or cannot be stored, or the function cannot be called.
    """
    if not (name and name.isprintable() and name == name.strip()):
        raise ConfigError(f"the name {name!r} of a transform must be printable, without spaces at its ends")
    if not callable(function):
        raise ConfigError(f"transform {function!r} cannot be called: only functions and factories get names")
    named = _Named(function)
    named.name = name
    return cast("_F", named)  # it takes and returns the same


def check_name(given: Spec) -> None:
    """Check that a transform has a name by which another process recognises its copies.

    Raises:
        ConfigError: it has no name; the message says which part of it needs one.
    """
    _name_of(given)


def name_of(given: Spec) -> str:
    """Return the name of a transform for the metadata of copies, in ASCII and at most 256 characters.

    It is the name given as text or by `with_name`, otherwise the module and name of the function or class.
    The name of a `functools.partial`, such as `map_lines` returns, also contains its arguments: functions by
    name, constants by a checksum, since they may be secret. The name does not depend on the code of a
    function: if the user changes only the code, `if_exists="skip"` keeps the copies that the old code made.

    A longer name is cut and ends with its hash, since the metadata of an object may have 2 KB in all. A
    transform without a name gets a different one at each call, so no copy counts as made by it; see
    `check_name`.
    """
    try:
        name = _name_of(given).encode("ascii", "backslashreplace").decode()
    except ConfigError:
        return f"unnamed:{os.urandom(8).hex()}"
    if len(name) <= _LONGEST_NAME:
        return name
    return f"{name[: _LONGEST_NAME - 33]}~{hashlib.sha256(name.encode()).hexdigest()[:32]}"


def _name_of(given: Any) -> str:
    if isinstance(given, str):
        return given
    if isinstance(given, _Named):
        return given.name
    if isinstance(given, Sequence):
        return ",".join(map(_name_of, given))
    if isinstance(given, partial):
        bound = [*map(_name_of_bound, given.args)]
        bound += [f"{name}={_name_of_bound(value)}" for name, value in sorted(given.keywords.items())]
        return f"{_name_of(given.func)}({';'.join(bound)})"
    defaults = [*(getattr(given, "__defaults__", None) or ())]
    defaults += sorted((getattr(given, "__kwdefaults__", None) or {}).items())
    if not (_is_importable(given) and _is_constant(defaults)):
        raise _unnamed(given)
    name = f"{given.__module__}:{given.__qualname__}"
    return f"{name}:{_constant_hash(defaults)}" if defaults else name


def _name_of_bound(value: Any) -> str:
    if callable(value) or (isinstance(value, tuple) and all(map(callable, value))):
        return _name_of(value)
    if not _is_constant(value):
        raise _unnamed(f"with a {type(value).__name__} as an argument")  # its value may be secret
    return _constant_hash(value)


def _unnamed(part: object) -> ConfigError:
    return ConfigError(
        f'if_exists="skip" cannot recognise copies made by the transform {part}: it has no name that is the '
        'same in every process. Give it one: asyncstream.transforms.with_name("clean-v1", function)'
    )


def _is_importable(given: Any) -> bool:
    """Return whether the module has the object under its name, as `pickle` finds functions and classes."""
    module = sys.modules.get(getattr(given, "__module__", None) or "")
    path = getattr(given, "__qualname__", "").split(".")
    return reduce(lambda found, name: getattr(found, name, None), path, module) is given


def _is_constant(value: Any) -> bool:
    """Return whether the `repr` of a value is the same in every process."""
    if isinstance(value, tuple | list):
        return all(map(_is_constant, value))
    return value is None or isinstance(value, int | float | str | bytes)


def _constant_hash(constant: Any) -> str:
    return f"{zlib.crc32(repr(constant).encode()):x}"
