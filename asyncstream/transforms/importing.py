"""Import a user's object by its name, "module:function"."""

from importlib import import_module
from typing import Any

from asyncstream.errors import ConfigError


def import_object(spec: str, what: str, wanted: str = "a function of yours as module:function") -> Any:
    """Import and return the object that a name stands for.

    Args:
        spec: "module:function", or "module:object.attribute".
        what: the kind of object, for messages.
        wanted: the allowed values, for messages.

    Raises:
        ConfigError: the name does not have that form, or importing it failed.
    """
    module, _, path = spec.partition(":")
    if not (module and path):
        raise ConfigError(f"{what} {spec!r} must be {wanted}")
    try:
        found: Any = import_module(module)
        for name in path.split("."):
            found = getattr(found, name)
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # a user's module, which may call sys.exit
        raise ConfigError(f"{what} {spec!r} cannot be imported: {type(error).__name__}: {error}") from error
    return found
