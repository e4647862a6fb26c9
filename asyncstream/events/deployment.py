"""The locations and functions that a deployed function may use, read from its environment. Does no I/O.

The buckets and keys of an event are untrusted. IAM refuses what the role does not allow. The checks here run
first: they name the location, can be narrower than the role, and prevent the function from invoking itself.
The function names of an event are untrusted too: `os:system` would run a file's content with the role's
permissions.
"""

import os
from collections.abc import Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any, Self

from msgspec import Struct

from asyncstream.engines import EngineName
from asyncstream.errors import ConfigError, InputError
from asyncstream.locations import Pack, S3Object, S3Prefix, TarEntries, ZipEntries, rebased
from asyncstream.pipeline.config import ENV_PREFIX, UNPACK
from asyncstream.pipeline.pairs import Pair, check_pairs
from asyncstream.pipeline.session import TransferSession, borrow_session
from asyncstream.runs.unzipping import Entries, folder_of, is_archive
from asyncstream.s3.access import DESTINATION_PREFIX, SOURCE_PREFIX, S3Access, one_server

SOURCE, DESTINATION, TRIGGER = "DEPLOYED_SOURCE", "DEPLOYED_DESTINATION", "DEPLOYED_TRIGGER"
TRANSFORMS = "DEPLOYED_TRANSFORMS"
NO_TRIGGER = "none"
_OF_S3 = (S3Object, S3Prefix)
# What `UNPACK` may say: nothing, or the kind of archives that are unpacked.
_UNPACKS = ("", "zip")


def deployed_session(engine: EngineName) -> AbstractContextManager[TransferSession]:
    """Provide a kept session of an engine, with the ends that ASYNCSTREAM_SOURCE_* and _DESTINATION_* give.

    Raises:
        ConfigError: a variable is wrong.
    """
    source, destination = S3Access.read(SOURCE_PREFIX), S3Access.read(DESTINATION_PREFIX)
    return borrow_session(engine, source, destination)


def results_session(engine: EngineName) -> AbstractContextManager[TransferSession]:
    """Provide a kept session with both ends at the destination, where the objects of runs are.

    Raises:
        ConfigError: a variable is wrong.
    """
    destination = S3Access.read(DESTINATION_PREFIX)
    return borrow_session(engine, destination, destination)


class Deployment(Struct, frozen=True):
    """The prefixes and functions that a deployed function is limited to. None means no limit.

    Attributes:
        source: the prefix it may read (`DEPLOYED_SOURCE`, such as `s3://raw/`).
        destination: the prefix it may write, and where triggered files go (`DEPLOYED_DESTINATION`).
        trigger: the prefix where a new object invokes it (`DEPLOYED_TRIGGER`). Default: `source`. With
            "none", no object invokes it.
        transforms: the functions, as `module:function`, that an event's `transform` may name in addition to
            the built-in ones. `DEPLOYED_TRANSFORMS` lists them, separated by commas; those of the function's
            own `transform` are added.
        one_server: whether sources and destinations are on one server. If not, both may have one name, and a
            new object at the destination does not invoke the function.
        unpack: whether ZIP archives are unpacked if their event names no destination, instead of copied
            (`ASYNCSTREAM_UNPACK=zip`).
    """

    source: S3Prefix | None = None
    destination: S3Prefix | None = None
    trigger: S3Prefix | None = None
    transforms: frozenset[str] | None = None
    one_server: bool = True
    unpack: bool = False

    @classmethod
    def from_env(cls, environ: Mapping[str, str] = os.environ) -> Self:
        """Read the environment. An empty variable counts as unset: templates write such variables.

        Raises:
            ConfigError: a variable is not `s3://bucket/prefix`, or another one is wrong.
        """
        source = _prefix(SOURCE, environ)
        destination = _prefix(DESTINATION, environ)
        trigger = None if environ.get(TRIGGER) == NO_TRIGGER else _prefix(TRIGGER, environ) or source
        transforms = None
        if source is not None or destination is not None:
            named = (environ.get(name, "") for name in (TRANSFORMS, f"{ENV_PREFIX}TRANSFORM"))
            transforms = frozenset(",".join(named).split(",")) - {""}
        ends = (S3Access.read(prefix, environ) for prefix in (SOURCE_PREFIX, DESTINATION_PREFIX))
        unpack = environ.get(UNPACK, "")
        if unpack not in _UNPACKS:
            raise ConfigError(f"{UNPACK}={unpack!r:.100}: set it to zip, or leave it empty")
        return cls(source, destination, trigger, transforms, one_server(*ends), bool(unpack))

    def pair(self, source: S3Object) -> Pair:
        """Return a triggered object, or the files of an archive if the function unpacks, and the destination.

        The destination is the rest of the source's key under `destination`.

        Raises:
            ConfigError: the function is deployed without a destination.
            InputError: see `check`; or source and destination are the same object.
        """
        self.check_read(source)
        pair: Pair
        if self.unpack and is_archive(source.key):
            pair = (Entries().of(source), self.folder_of(source))
        else:
            pair = (source, self._rebased(source))
        self.check(check_pairs([pair], one_server=self.one_server))
        return pair

    def check(self, pairs: Iterable[Pair]) -> None:
        """Check that all pairs are within the deployed prefixes.

        Raises:
            InputError: a source or destination is outside, or writing there would invoke the function again.
        """
        for source, destination in pairs:
            for place in _places_read(source):
                # An event must not reach the function's own files, or hosts of its network.
                if not (isinstance(place, _OF_S3) and isinstance(destination, _OF_S3)):
                    raise InputError(f"{source} -> {destination}: a function copies objects of S3 only")
                self.check_read(place)
                self.check_written(destination)

    def check_work(self, pairs: Iterable[Pair], settings: Mapping[str, Any]) -> None:
        """Check that a worker of a run may touch these places, and use these settings.

        Raises:
            InputError: see `check` and `check_settings`.
        """
        self.check(pairs)
        self.check_settings(settings)

    def check_settings(self, settings: Mapping[str, Any]) -> None:
        """Check that an event's settings name only functions that were deployed as transforms.

        Raises:
            InputError: `transform` names another function.
        """
        for name in str(settings.get("transform") or "").split(","):
            if ":" in name and self.transforms is not None and name not in self.transforms:
                raise InputError(
                    f"an event may not name the transform {name!r}: use a built-in transform or a function "
                    f"that {TRANSFORMS} lists"
                )

    def check_read(self, place: S3Object | S3Prefix) -> None:
        """Check one place to be read; see `check`."""
        if self.source is not None and not _within(place, self.source):
            raise InputError(
                f"{place} is outside {self.source}, the only prefix this function reads ({SOURCE})"
            )

    def check_written(self, place: S3Object | S3Prefix) -> None:
        """Check one place to be written; see `check`."""
        if self.destination is not None and not _within(place, self.destination):
            raise InputError(
                f"{place} is outside {self.destination}, the only prefix this function writes ({DESTINATION})"
            )
        if self.one_server and self.trigger is not None and _overlap(place, self.trigger):
            raise InputError(
                f"{place} is where a new object invokes this function ({self.trigger}): "
                "it would invoke itself endlessly"
            )

    def folder_of(self, source: S3Object) -> S3Prefix:
        """Return the prefix for the files of an archive, or for the ranges of a text.

        Raises:
            ConfigError: see `bases`.
        """
        return folder_of(source, *self.bases(source))

    def bases(self, source: S3Object | S3Prefix) -> tuple[S3Prefix, S3Prefix]:
        """Return the prefix that is left out of the keys of sources, and the one that replaces it.

        Raises:
            ConfigError: the function is deployed without a destination.
        """
        if self.destination is None:
            raise ConfigError(
                f"the event names {source} but no destination: set {DESTINATION}, such as s3://clean/"
            )
        return self.source or S3Prefix(source.bucket), self.destination

    def _rebased(self, source: S3Object) -> S3Object:
        base, destination = self.bases(source)
        return destination.item(rebased(source.key, base, destination))


def _places_read(source: object) -> Sequence[object]:
    """Return the places that a source is read from."""
    if isinstance(source, ZipEntries | TarEntries):
        return (source.archive,)
    if not isinstance(source, Pack):
        return (source,)
    return source.members if isinstance(source.members, tuple) else (source.members,)


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
    """Whether an object of the place may be under the prefix."""
    if _within(place, prefix):
        return True
    shorter = isinstance(place, S3Prefix) and prefix.prefix.startswith(place.prefix)
    return shorter and place.bucket == prefix.bucket
