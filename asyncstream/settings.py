"""`Settings`: the base class of configurations. It checks values, reads variables and masks secrets.

msgspec checks types and limits when it converts a value, not when Python calls the class. `Settings` converts
in both cases, so that arguments, environment variables and events pass the same checks.
"""

import os
from collections.abc import Iterable, Mapping
from functools import cache
from typing import Any, ClassVar, Self

import msgspec
from msgspec import ValidationError

from asyncstream.errors import ConfigError


class Settings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Immutable settings, checked when they are created. Each has a default.

    A subclass sets the prefix of its environment variables, and overrides `_masked` if a setting may contain
    a secret.
    """

    _prefix: ClassVar[str]

    def __post_init__(self) -> None:
        try:
            msgspec.convert(msgspec.structs.asdict(self), _unchecked(type(self)))
        except ValidationError as error:
            raise ConfigError(self._refusal(error)) from None

    def __rich_repr__(self) -> list[tuple[str, Any]]:
        """Return every setting by name, with secrets masked."""
        return list((msgspec.structs.asdict(self) | self._masked()).items())

    def __repr__(self) -> str:
        """Return every setting in one line, with secrets masked."""
        settings = ", ".join(f"{name}={value!r}" for name, value in self.__rich_repr__())
        return f"{type(self).__name__}({settings})"

    def override(self, values: Mapping[str, Any]) -> Self:
        """Return a copy with some values replaced.

        Raises:
            ConfigError: a value is outside its limits, settings contradict each other, or a name is unknown.
        """
        unknown = sorted(set(values) - set(self.__struct_fields__))
        if unknown:
            raise ConfigError(f"unknown setting {unknown[0]!r}; known: {', '.join(self.__struct_fields__)}")
        return msgspec.structs.replace(self, **values)

    @classmethod
    def from_env(cls, environ: Mapping[str, str] | None = None, **defaults: Any) -> Self:
        """Return `defaults`, overridden by the environment: see `read_variables`.

        Raises:
            ConfigError: a value cannot be read or is outside its limits, or a variable is not a setting.
        """
        # Not `environ=os.environ` in the signature: `help` prints defaults, and so every secret.
        given = cls.read_variables(os.environ if environ is None else environ)
        own = cls(**defaults)
        try:
            read = msgspec.convert(msgspec.structs.asdict(own) | given, _unchecked(cls), strict=False)
        except ValidationError as error:
            raise ConfigError(cls._misreading(error, given)) from None
        return own.override({name: getattr(read, name) for name in given})

    @classmethod
    def read_variables(cls, variables: Mapping[str, str]) -> dict[str, Any]:
        """Return the settings given by variables, whose names are the prefix and the setting in upper case.

        Empty variables are ignored: templates write one for each setting that is not given.
        """
        named = {name: variables.get(f"{cls._prefix}{name.upper()}") for name in cls.__struct_fields__}
        return {name: text for name, text in named.items() if text}

    def _masked(self) -> dict[str, Any]:
        """Return the values to show in place of settings that may contain a secret."""
        return {}

    def _refusal(self, error: ValidationError) -> str:
        """Return the error message for a wrong value. msgspec's message does not contain the value."""
        return f"{type(self).__name__}: {error}"

    @classmethod
    def _misreading(cls, error: ValidationError, _given: Mapping[str, Any]) -> str:
        """Return the error message for a wrong environment variable."""
        return f"the variables {cls._prefix}*: {error}"


def check_names(variables: Mapping[str, str], prefix: str, settings: Iterable[str], owner: str) -> None:
    """Check that each variable with a prefix is one of the settings. Empty variables are ignored.

    Raises:
        ConfigError: a variable is not a setting.
    """
    known = {f"{prefix}{name.upper()}" for name in settings}
    for name in sorted(variables.keys() - known):
        if name.startswith(prefix) and variables[name]:
            raise ConfigError(f"{name} is not a setting of {owner}")


@cache
def _unchecked(settings: type[Settings]) -> type[msgspec.Struct]:
    """Return a class with the same fields and no `__post_init__`, which msgspec checks values against."""
    fields = [(field.name, field.type) for field in msgspec.structs.fields(settings)]
    return msgspec.defstruct(settings.__name__, fields, kw_only=True)
