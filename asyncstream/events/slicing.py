"""Cut a large archive into items of a Distributed Map: a slice of its directory each. Does no I/O.

The first step of the state machine's kind `unzip` in `deploy/template.yaml` sends such an event. The reply
has the items, or names the list of them in S3, from which a Map reads them.
"""

from collections.abc import Iterable, Sequence
from typing import Annotated, Any

import msgspec
from msgspec import Meta, Struct

from asyncstream.errors import InputError
from asyncstream.events.deployment import Deployment
from asyncstream.events.handler_replies import MAX_INLINE_BYTES, as_many_as_fit
from asyncstream.events.reading import at, read
from asyncstream.events.step_functions import MapItem
from asyncstream.locations import S3Object, S3Prefix, ZipEntries
from asyncstream.runs.unzipping import Entries

LIST_TYPE = "application/x-ndjson"


class SlicesEvent(Struct, frozen=True, forbid_unknown_fields=True):
    """An event that asks for the slices of an archive.

    Attributes:
        slices: the archive, `s3://bucket/key`.
        destination: the prefix to unpack to; empty for the archive's own folder under the deployed one.
        version_id: the version of the archive; empty for the current one.
        select: a pattern of names in the archive.
        encoding: the encoding of names that are not marked as UTF-8; empty for none.
        as_gzip: whether to make gzip files without inflating.
        slice_size: the most files of a slice. With 1,000, the files that a batch leaves fit into the Cause of
            its execution; see `step_functions.py`.
        list_uri: the object to write the items to; empty to have them in the reply.
    """

    slices: str
    destination: str = ""
    version_id: str = ""
    select: Annotated[str, Meta(min_length=1)] = "*"
    encoding: str = ""
    as_gzip: bool = False
    slice_size: Annotated[int, Meta(ge=1, le=1_000)] = 1_000
    list_uri: str = ""


class Asked(Struct, frozen=True):
    """A checked event: what to cut, how, and where to write the list of the items, if anywhere."""

    entries: ZipEntries
    folder: S3Prefix
    slice_size: int
    write_to: S3Object | None


def is_asked(event: Any) -> bool:
    """Whether an event asks for the slices of an archive."""
    return isinstance(event, dict) and "slices" in event


def parse(event: Any, deployment: Deployment) -> Asked:
    """Check an event.

    Raises:
        InputError: it is malformed, or the deployment does not allow a place.
        ConfigError: the function is deployed without a destination, and the event names none.
    """
    request = read(event, SlicesEvent)
    archive = at("$.slices", S3Object.from_uri, request.slices, request.version_id or None)
    asked = Entries(request.select, request.encoding or None, request.as_gzip)
    entries, folder = deployment.pair(archive, request.destination, asked)
    assert isinstance(entries, ZipEntries) and isinstance(folder, S3Prefix)  # noqa: S101, PT018 - as asked
    write_to = at("$.list_uri", S3Object.from_uri, request.list_uri) if request.list_uri else None
    if write_to is not None:
        deployment.check_written(write_to)
        if write_to.uri == archive.uri or write_to.uri.startswith(folder.uri):
            raise InputError(
                f"the event is malformed at $.list_uri: {write_to} is the archive, or in {folder}, where its "
                "files go: name another place"
            )
    return Asked(entries, folder, request.slice_size, write_to)


def items_of(asked: Asked, slices: Iterable[ZipEntries]) -> list[MapItem]:
    """Return an item for each slice."""
    archive = asked.entries.archive
    assert isinstance(archive, S3Object)  # noqa: S101 - `parse` has checked it
    return [
        MapItem(archive.uri, asked.folder.uri, archive.version_id or "", entries=Entries.from_selection(each))
        for each in slices
    ]


def list_document(items: Sequence[MapItem]) -> bytes:
    """Return the items as JSON Lines."""
    return b"".join(msgspec.json.encode(item) + b"\n" for item in items)


def reply(asked: Asked, items: Sequence[MapItem]) -> dict[str, Any]:
    """Return the number of the items, and where their list is, or the items themselves.

    Raises:
        InputError: the items do not fit into a reply.
    """
    if asked.write_to is not None:
        return {"slices": len(items), "bucket": asked.write_to.bucket, "key": asked.write_to.key}
    fitting, _ = as_many_as_fit(items, MAX_INLINE_BYTES)
    if len(fitting) < len(items):
        raise InputError(
            f"the {len(items):,} slices of {asked.entries.archive} do not fit into a reply: name a `list_uri`"
        )
    return {"slices": len(items), "Items": [msgspec.to_builtins(item) for item in items]}
