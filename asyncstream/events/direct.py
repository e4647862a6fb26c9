"""The event of a direct invocation: types and reading. Does no I/O.

`direct_reply.py` has the reply, and the schema of both.
"""

from collections.abc import Iterable, Iterator, Sequence
from typing import Annotated, Any, Literal, get_args

from msgspec import Meta, Struct

from asyncstream.errors import InputError
from asyncstream.events.packing import Kind, Packing
from asyncstream.events.reading import at, read
from asyncstream.locations import (
    Pack,
    S3Object,
    S3Prefix,
    SourceFile,
    SourceFolder,
    TarEntries,
    TargetFile,
    ZipEntries,
)
from asyncstream.locations.packs import IfMissing
from asyncstream.pipeline.config import TransferConfig, explained
from asyncstream.pipeline.continuation import Continuation
from asyncstream.pipeline.pairs import GivenPair, Pair, check_pairs
from asyncstream.runs.unzipping import Entries, continuations_of

# Only the schema has the pattern: locations.py checks URIs with a better message.
Uri = Annotated[
    str, Meta(description="s3://bucket/key, the key verbatim", extra_json_schema={"pattern": "^s3://"})
]


Uris = Uri | Annotated[list[Uri], Meta(min_length=1)]

# The fields of which an event has one, and fields that only some of them have.
_PACKS: tuple[Kind, ...] = get_args(Kind)
_ARCHIVES = ("unzip", "untar")
_ASKS = ("files", "source_prefix", *_ARCHIVES, *_PACKS)
_OPTIONS: dict[str, tuple[str, ...]] = {
    "destination": _ASKS[1:],
    **dict.fromkeys(("version_id", "select"), _ARCHIVES),
    **dict.fromkeys(("encoding", "as_gzip"), ("unzip",)),
    **dict.fromkeys(("separator", "header"), ("concat",)),
    **dict.fromkeys(("if_missing", "continuation"), _PACKS),
}


class FileToCopy(Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """One file of an event, or the files of an archive.

    `continuation` is copied from the reply of an earlier invocation. With `entries`, the source is a ZIP
    archive, and the destination is the prefix that its files are unpacked to.
    """

    source: Uri
    destination: Uri
    version_id: str | None = None
    continuation: Continuation | None = None
    entries: Entries | None = None


class DirectEvent(Struct, frozen=True, forbid_unknown_fields=True):
    """A direct invocation's event: `files`, or `destination` and one of the fields after it.

    Attributes:
        files: sources and destinations, one by one.
        destination: the prefix that replaces `source_prefix` in each key, or that the names of an archive's
            files follow; or the object to pack into.
        source_prefix: the prefix whose objects are all copied.
        unzip: a ZIP archive whose files are unpacked.
        untar: a tar archive whose files are unpacked; see `TarEntries`. Files that the time is too short for
            fail, and are not in `pending`: repeat the event with `if_exists="skip"`.
        tar: a prefix, or a list of objects, to pack into a tar archive.
        zip: the same, into a ZIP archive whose files are stored as they are.
        concat: the same, to join one after the other.
        version_id: the version of the archive; null for the current one.
        select: a pattern of names in the archive, such as "*.csv"; null for all files.
        encoding: the encoding of names in the archive that are not marked as UTF-8.
        as_gzip: whether to make gzip files of the archive's files without inflating them.
        separator: the text between two joined objects; null for none.
        header: "first" keeps the first line of the first joined object only; null for those of all.
        if_missing: "leave_out" packs what is there, if an object is deleted meanwhile; null to fail then.
        continuation: where to continue a pack, copied from the reply of an earlier invocation.
        config: settings of TransferConfig that override the function's own.
        report_uri: an object to write the full list of results to.
    """

    files: Annotated[list[FileToCopy], Meta(min_length=1)] | None = None
    destination: Uri | None = None
    source_prefix: Uri | None = None
    unzip: Uri | None = None
    untar: Uri | None = None
    tar: Uris | None = None
    zip: Uris | None = None
    concat: Uris | None = None
    version_id: str | None = None
    select: Annotated[str, Meta(min_length=1)] | None = None
    encoding: str | None = None
    as_gzip: bool | None = None
    separator: str | None = None
    header: Literal["all", "first"] | None = None
    if_missing: IfMissing | None = None
    continuation: Continuation | None = None
    config: TransferConfig = TransferConfig()
    report_uri: Uri | None = None


def read_event(event: Any) -> DirectEvent:
    """Check an event's shape.

    Raises:
        InputError: a field is unknown, missing or of the wrong type; the message names its path.
    """
    request = read(event, DirectEvent, message=lambda error: explained(error)[1])
    asked = [name for name in _ASKS if getattr(request, name) is not None]
    if len(asked) != 1:
        raise InputError(
            f"the event must have one of {_join(_ASKS)}: it has {_join(asked) or 'none of them'}"
        )
    for name, kinds in _OPTIONS.items():
        if getattr(request, name) is not None and asked[0] not in kinds:
            raise InputError(f"the event has `{asked[0]}`: leave out `{name}`, which is for {_join(kinds)}")
    if asked != ["files"] and request.destination is None:
        raise InputError(f"the event has `{asked[0]}`: it must have `destination`, too")
    return request


def _join(names: Sequence[str]) -> str:
    return ", ".join(f"`{name}`" for name in names)


def event_pairs(event: DirectEvent, *, one_server: bool = True) -> list[Pair]:
    """Return the sources and destinations of an event.

    Raises:
        InputError: a location is malformed, or the list contradicts itself; see `check_pairs`.
    """
    if event.files is not None:
        pairs: Iterable[Pair] = (_file_pair(file, f"$.files[{n}]") for n, file in enumerate(event.files))
        return check_pairs(pairs, one_server=one_server)
    for into in _PACKS:
        members = getattr(event, into)
        if members is not None:
            return check_pairs([_pack_pair(event, into, members)], one_server=one_server)
    destination = at("$.destination", S3Prefix.from_uri, event.destination)
    if event.unzip is not None:
        archive = at("$.unzip", S3Object.from_uri, event.unzip, event.version_id)
        entries = Entries(event.select or "*", event.encoding, event.as_gzip or False)
        return check_pairs([(at("$.encoding", entries.of, archive), destination)])
    if event.untar is not None:
        archive = at("$.untar", S3Object.from_uri, event.untar, event.version_id)
        return check_pairs([(TarEntries(archive, event.select or "*"), destination)])
    source = at("$.source_prefix", S3Prefix.from_uri, event.source_prefix)
    return check_pairs([(source, destination)], one_server=one_server)


def _file_pair(file: FileToCopy, path: str) -> Pair:
    source = at(f"{path}.source", S3Object.from_uri, file.source, file.version_id)
    if file.entries is None:
        return source, at(f"{path}.destination", S3Object.from_uri, file.destination)
    folder = at(f"{path}.destination", S3Prefix.from_uri, file.destination)
    return at(f"{path}.entries", file.entries.of, source), folder


def _pack_pair(event: DirectEvent, into: Kind, members: str | list[str]) -> GivenPair:
    target = at("$.destination", S3Object.from_uri, event.destination)
    packing = Packing(into, event.separator or "", event.header or "all", event.if_missing or "fail")
    how = at("$.separator", packing.at, target)
    if isinstance(members, str):
        return at(f"$.{into}", S3Prefix.from_uri, members), how
    return tuple(at(f"$.{into}[{n}]", S3Object.from_uri, uri) for n, uri in enumerate(members)), how


def event_continuations(event: DirectEvent, pairs: Sequence[Pair]) -> dict[Any, Continuation]:
    """Return the continuations of the event's files, by source and destination.

    Raises:
        InputError: an archive has a continuation of its own, or that of a file whose name cannot be a key.
    """
    found: dict[Any, Continuation] = {}
    if event.continuation is not None:
        found[pairs[0]] = event.continuation
    for position, (pair, file) in enumerate(zip(pairs, event.files or [], strict=False)):
        found |= at(f"$.files[{position}]", continuations_of, pair, file.continuation, file.entries)
    return found


def report_location(event: DirectEvent, pairs: Sequence[Pair]) -> S3Object | None:
    """Return the object to write the report to; None if the event requests no report.

    Raises:
        InputError: `report_uri` is malformed, or is a file of the event. The transfer compares it with the
            files of a listing.
    """
    if event.report_uri is None:
        return None
    place = at("$.report_uri", S3Object.from_uri, event.report_uri)
    if place.uri in {each.uri for pair in pairs for each in _places(pair)}:
        raise InputError(f"the event is malformed at $.report_uri: {place} is one of the files")
    return place


def _places(pair: Pair) -> Iterator[SourceFile | SourceFolder | TargetFile]:
    """Yield the places that a pair names, with those that are within others."""
    source, destination = pair
    if isinstance(source, ZipEntries | TarEntries):
        yield source.archive
    elif isinstance(source, Pack) and isinstance(source.members, tuple):
        yield from source.members
    else:
        yield source
    yield destination


def at_deadline(event: DirectEvent) -> Literal["fail", "pending"]:
    """Return how files of an event end at the deadline: pending, if the reply can say how to go on."""
    return "fail" if event.untar is not None else "pending"


def named_settings(event: Any, request: DirectEvent) -> dict[str, Any]:
    """Return the settings that the event itself names. For the others, the function's own values apply."""
    return {name: getattr(request.config, name) for name in event.get("config") or {}}
