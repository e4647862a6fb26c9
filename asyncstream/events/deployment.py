"""What a deployed function may touch and run, and where a triggered file goes: from its environment; pure.

Buckets and keys in an event are what somebody else wrote. IAM refuses what the role lacks; this refuses it
first, by name, also where the role allows more, and refuses what would make the function invoke itself. So
are names of functions: `os:system` would have a file's content run with all that the role allows.
"""

import os
from collections.abc import Iterable, Mapping
from typing import Any, Self

from msgspec import Struct

from asyncstream.errors import ConfigError, InputError
from asyncstream.locations import S3Object, S3Prefix
from asyncstream.pipeline.config import ENV_PREFIX
from asyncstream.pipeline.jobs import Pair, checked

SOURCE, DESTINATION, TRIGGER = "DEPLOYED_SOURCE", "DEPLOYED_DESTINATION", "DEPLOYED_TRIGGER"
TRANSFORMS = "DEPLOYED_TRANSFORMS"
NO_TRIGGER = "none"


class Deployment(Struct, frozen=True):
    """The prefixes of a deployed function. None: anything, as for a function that is not deployed.

    Attributes:
        source: all it may read (`DEPLOYED_SOURCE`, such as `s3://raw/`).
        destination: all it may write, and where triggered files go (`DEPLOYED_DESTINATION`).
        trigger: where a new object invokes it (`DEPLOYED_TRIGGER`); default: all of `source`, as nobody said
            otherwise; "none": no object does.
        transforms: the functions, as `module:function`, that an event's `transform` may name beside those
            built in: of `DEPLOYED_TRANSFORMS` and the function's own, with commas between.
    """

    source: S3Prefix | None = None
    destination: S3Prefix | None = None
    trigger: S3Prefix | None = None
    transforms: frozenset[str] | None = None

    @classmethod
    def from_env(cls, environ: Mapping[str, str] = os.environ) -> Self:
        """Read it. An empty variable counts as unset, as templates write it.

        Raises:
            ConfigError: one is no `s3://bucket/prefix`.
        """
        source = _prefix(SOURCE, environ)
        destination = _prefix(DESTINATION, environ)
        trigger = None if environ.get(TRIGGER) == NO_TRIGGER else _prefix(TRIGGER, environ) or source
        if source is None and destination is None:
            return cls(source, destination, trigger)
        named = (environ.get(name, "") for name in (TRANSFORMS, f"{ENV_PREFIX}TRANSFORM"))
        return cls(source, destination, trigger, frozenset(",".join(named).split(",")) - {""})

    def pair(self, source: S3Object, destination: S3Object | None = None) -> Pair:
        """An object that a trigger names, and where it goes: by default the rest of its key under
        `destination`.

        Raises:
            ConfigError: no destination is deployed.
            InputError: see `check`, or the two are the same.
        """
        self.check_read(source)
        pair = (source, destination or self._rebased(source))
        self.check(checked([pair]))
        return pair

    def check(self, pairs: Iterable[Pair]) -> None:
        """Refuse what lies outside.

        Raises:
            InputError: a source or a destination does, or writing there would invoke the function again.
        """
        for source, destination in pairs:
            self.check_read(source)
            self.check_written(destination)

    def check_settings(self, settings: Mapping[str, Any]) -> None:
        """Refuse settings of an event that would run a function which nobody has deployed to be run."""
        for name in (settings.get("transform") or "").split(","):
            if ":" in name and self.transforms is not None and name not in self.transforms:
                raise InputError(
                    f"transform {name!r} is none that an event may name: those built in, and what the "
                    f"function's {TRANSFORMS} lists"
                )

    def check_read(self, place: S3Object | S3Prefix) -> None:
        """Refuse one place that is to be read; see `check`."""
        if self.source is not None and not _within(place, self.source):
            raise InputError(f"{place} is outside {self.source}, all that this function reads ({SOURCE})")

    def check_written(self, place: S3Object | S3Prefix) -> None:
        """Refuse one place that is to be written; see `check`."""
        if self.destination is not None and not _within(place, self.destination):
            raise InputError(
                f"{place} is outside {self.destination}, all that this function writes ({DESTINATION})"
            )
        if self.trigger is not None and _overlap(place, self.trigger):
            raise InputError(
                f"{place} is where a new object invokes this function ({self.trigger}): "
                "it would invoke itself without end"
            )

    def _rebased(self, source: S3Object) -> S3Object:
        if self.destination is None:
            raise ConfigError(
                f"the event names {source} and no destination: set {DESTINATION}, such as s3://clean/"
            )
        base = self.source or S3Prefix(source.bucket)
        return base.rebase(source.key, self.destination)


def _prefix(name: str, environ: Mapping[str, str]) -> S3Prefix | None:
    text = environ.get(name)
    if not text:
        return None
    try:
        return S3Prefix.from_uri(text)
    except InputError as error:
        raise ConfigError(f"{name}={text!r}: {error}") from None


def _start(place: S3Object | S3Prefix) -> str:
    return place.key if isinstance(place, S3Object) else place.prefix


def _within(place: S3Object | S3Prefix, prefix: S3Prefix) -> bool:
    return place.bucket == prefix.bucket and _start(place).startswith(prefix.prefix)


def _overlap(place: S3Object | S3Prefix, prefix: S3Prefix) -> bool:
    """Whether an object of the place may lie under the prefix."""
    if _within(place, prefix):
        return True
    shorter = isinstance(place, S3Prefix) and prefix.prefix.startswith(place.prefix)
    return shorter and place.bucket == prefix.bucket
