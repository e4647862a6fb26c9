"""What S3's replies say, read and checked. Pure."""

import re
from collections.abc import Mapping
from datetime import datetime
from email.utils import parsedate_to_datetime
from typing import Any

from asyncstream.checksum import Checksum, Composite
from asyncstream.errors import ReplyIncomplete, S3Error, SourceChanged, TruncatedBody
from asyncstream.locations import S3Object, S3Prefix
from asyncstream.objects import (
    MAX_PARTS,
    ByteRange,
    CompletedPart,
    ListedObject,
    MultipartUpload,
    OpenUpload,
    Origin,
    Stored,
    Written,
)
from asyncstream.s3.requests import ORIGIN, UploadMarker

# Kept on a copy, named alike in GetObject's reply and PutObject's parameters. The storage class, ACL,
# tags and encryption belong to the destination: extra_args.
_KEPT = (
    "CacheControl",
    "ContentDisposition",
    "ContentEncoding",
    "ContentLanguage",
    "ContentType",
    "Expires",
    "Metadata",
    "WebsiteRedirectLocation",
)
# In the order of preference, should S3 ever tell several.
_CHECKSUMS = ("CRC64NVME", "CRC32C", "CRC32", "SHA256", "SHA1")
_OF_PARTS = re.compile(r"[^-]+-[1-9]\d{0,4}")
# Under this name a reply keeps the first words of its body: see `client.prepare_client`.
FIRST_WORDS = "FirstWords"
# Without one of these a body ends with its connection (RFC 9112, 6.3).
_FRAMING = frozenset({"content-length", "transfer-encoding"})
_CONTENT_RANGE = re.compile(r"bytes (\d+)-(\d+)/(\d+)")


def attributes(reply: Mapping[str, Any]) -> dict[str, Any]:
    """The headers of a GetObject reply that a copy keeps, as parameters of PutObject."""
    kept = {name: reply[name] for name in _KEPT if reply.get(name)}
    if "Metadata" in kept:
        # Of a source that is itself a copy: it says nothing of a copy of that.
        kept["Metadata"] = {name: text for name, text in kept["Metadata"].items() if name != ORIGIN}
    if "Expires" in kept:
        kept["Expires"] = _http_date(kept["Expires"])
    return {name: value for name, value in kept.items() if value is not None}


def checksum(reply: Mapping[str, Any]) -> Checksum | None:
    """The checksum of the whole that a reply tells; None if it tells none, or that of its parts."""
    for kind in _CHECKSUMS:
        value = reply.get(f"Checksum{kind}")
        if value and "-" not in value:
            return Checksum(kind, value)
    return None


def composite(reply: Mapping[str, Any]) -> Composite | None:
    """The checksum of the parts' checksums that a reply tells; None if it tells none.

    S3 calls it COMPOSITE, and writes "value-parts". It does not say where the parts were cut.
    """
    for kind in _CHECKSUMS:
        value = reply.get(f"Checksum{kind}")
        if value and _OF_PARTS.fullmatch(value):
            return Composite(kind, value)
    return None


def stored(reply: Mapping[str, Any], place: S3Object) -> Stored:
    """What a HeadObject reply tells of an object.

    Raises:
        S3Error: it tells no size or no ETag.
    """
    metadata = {name.lower(): text for name, text in reply.get("Metadata", {}).items()}
    size, etag, transform = (*metadata.get(ORIGIN, "").split(" ", 2), "", "")[:3]
    origin = Origin(int(size), etag, transform) if size.isdecimal() and etag else None
    return Stored(
        int(required(reply, "ContentLength", f"HEAD of {place}")),
        str(required(reply, "ETag", f"HEAD of {place}")),
        checksum(reply),
        origin,
        composite(reply),
    )


def required(reply: Mapping[str, Any], name: str, what: str) -> Any:
    """Return what a reply has under a name; `what` was asked.

    Raises:
        ReplyIncomplete: it has nothing there; with the status and the first words of the reply.
    """
    value = reply.get(name)
    if value is None:
        raise ReplyIncomplete(_lacking(reply, name, what), status=_status(reply))
    return value


def required_element(reply: Mapping[str, Any], name: str, what: str) -> Any:
    """Return what the document of a reply has under a name; `what` was asked.

    Raises:
        TruncatedBody: it has nothing there, and the document ended with the connection: perhaps too early.
        ReplyIncomplete: it has nothing there; see `required`.
    """
    headers = reply.get("ResponseMetadata", {}).get("HTTPHeaders", dict.fromkeys(_FRAMING))
    if reply.get(name) is None and not _FRAMING & headers.keys():
        raise TruncatedBody(_lacking(reply, name, what))
    return required(reply, name, what)


def _lacking(reply: Mapping[str, Any], name: str, what: str) -> str:
    words = reply.get("ResponseMetadata", {}).get(FIRST_WORDS, b"")
    said = f" and begins with {words!r}" if words else ""
    return f"{what}: the reply of status {_status(reply)} has no {name}{said}"


def check_empty(reply: Mapping[str, Any], what: str) -> None:
    """See that a reply which has no document has none: the sign-in page of a network is not S3's.

    Raises:
        ReplyIncomplete: it has one; with the status and its first words.
    """
    words = reply.get("ResponseMetadata", {}).get(FIRST_WORDS, b"")
    if words:
        raise ReplyIncomplete(
            f"{what}: the reply of status {_status(reply)} is not empty, it begins with {words!r}",
            status=_status(reply),
        )


def upload_id(reply: Mapping[str, Any], target: S3Object) -> str:
    """The id in CreateMultipartUpload's reply.

    Raises:
        S3Error: it has none. There may be an upload, which `asyncstream clean` finds.
    """
    return str(required_element(reply, "UploadId", f"CreateMultipartUpload {target}"))


def written(reply: Mapping[str, Any], what: str) -> Written:
    """What S3 says of the bytes that `what` has written.

    Raises:
        S3Error: it tells no ETag, so that it is unknown whether they were.
    """
    return Written(str(required(reply, "ETag", what)), checksum(reply))


def completed(reply: Mapping[str, Any], target: S3Object) -> Written:
    """What S3 says of the object that it has made of parts.

    Raises:
        S3Error, TruncatedBody: it tells no ETag, so that it is unknown whether it has.
    """
    return Written(str(required_element(reply, "ETag", f"CompleteMultipartUpload {target}")), checksum(reply))


def _status(reply: Mapping[str, Any]) -> int:
    return int(reply.get("ResponseMetadata", {}).get("HTTPStatusCode", 200))


def _http_date(text: str) -> datetime | None:
    """A date as HTTP writes it (RFC 9110, 5.6.7); None for what is no date, which S3 would refuse."""
    try:
        return parsedate_to_datetime(text)
    except ValueError:
        return None


def extent(reply: Mapping[str, Any], source: S3Object) -> tuple[ByteRange, int]:
    """Which bytes a GetObject reply carries, and the size of the whole object.

    Raises:
        S3Error: the Content-Range header cannot be read.
    """
    header = reply.get("ContentRange")
    if not header:
        if _status(reply) == 206:
            raise S3Error(
                f"GET of {source} was answered with 206 and no Content-Range: it says not which bytes"
            )
        if "ContentLength" not in reply:
            raise S3Error(f"GET of {source} was answered without a length: neither Content-Range nor -Length")
        size = int(reply["ContentLength"])
        return ByteRange(0, size), size
    match = _CONTENT_RANGE.fullmatch(header)
    if match is None:
        raise S3Error(f"GET of {source} was answered with Content-Range {header!r}, which is unreadable")
    start, last, size = map(int, match.groups())
    return ByteRange(start, last + 1), size


def check_pinned(reply: Mapping[str, Any], source: S3Object, etag: str | None) -> str:
    """The reply's ETag, the one that was asked for. Some servers ignore If-Match.

    Raises:
        SourceChanged: it is another.
    """
    found: str | None = reply.get("ETag")
    if found is None:
        raise S3Error(f"GET of {source} was answered without an ETag: its version cannot be held on to")
    if etag is not None and found != etag:
        raise source_changed(source, etag, found)
    return found


def check_extent(found: ByteRange, wanted: ByteRange | None, size: int, source: S3Object) -> None:
    """See that the reply carries the bytes that were asked for.

    Raises:
        S3Error: the server ignored the range or cut it.
    """
    # A first range may reach past the end of an object whose size is not known yet.
    expected = ByteRange(0, size) if wanted is None else ByteRange(wanted.start, min(wanted.stop, size))
    if found != expected:
        asked = "the whole" if wanted is None else wanted.header
        raise S3Error(
            f"GET of {source} asked for {asked} and was answered with bytes "
            f"{found.start}-{found.stop - 1} of {size}: this server does not serve ranges"
        )


def source_changed(source: S3Object, etag: str, found: str | None = None) -> SourceChanged:
    """The error for an object that is no longer the one first seen."""
    now = f", now {found}" if found else ""
    return SourceChanged(f"{source} was overwritten during the transfer: its ETag was {etag}{now}")


def listing(reply: Mapping[str, Any], prefix: S3Prefix) -> tuple[list[ListedObject], str | None]:
    """One page: its objects, and the token of the next page; None at the end.

    Raises:
        S3Error: the reply says neither that the listing has ended nor where it continues.
    """
    what = f"the listing of {prefix}"
    truncated = required_element(reply, "IsTruncated", what)
    objects = []
    for row in reply.get("Contents", ()):
        key, size, etag = (required(row, name, what) for name in ("Key", "Size", "ETag"))
        objects.append(ListedObject(key, int(size), _quoted(etag)))
    return objects, str(required_element(reply, "NextContinuationToken", what)) if truncated else None


def uploads(reply: Mapping[str, Any], prefix: S3Prefix) -> tuple[list[OpenUpload], UploadMarker | None]:
    """One page: its uploads, and where the next page begins; None at the end.

    Raises:
        S3Error: the reply says neither that the listing has ended nor where it continues.
    """
    what = f"the uploads under {prefix}"
    found = []
    for row in reply.get("Uploads", ()):
        key, upload, initiated = (required(row, name, what) for name in ("Key", "UploadId", "Initiated"))
        found.append(OpenUpload(S3Object(prefix.bucket, key), upload, datetime.fromisoformat(initiated)))
    if not required_element(reply, "IsTruncated", what):
        return found, None
    return found, (
        required_element(reply, "NextKeyMarker", what),
        required_element(reply, "NextUploadIdMarker", what),
    )


def parts(
    reply: Mapping[str, Any], upload: MultipartUpload, after: int | None
) -> tuple[list[CompletedPart], int | None]:
    """Return one page: the parts, and the number after which the next page begins; None at the end.

    Each part has the checksum that S3 tells, if any. A number that does not grow makes the pages endless.

    Raises:
        S3Error: the reply is of no upload, leaves something out of a part, tells one that was not asked for,
            or says that there are more parts and not where they continue.
    """
    what = f"the parts of upload {upload.upload_id} of {upload.target}"
    required_element(reply, "UploadId", what)
    found = []
    before = after or 0
    last = before - 1  # rclone begins a page at the number itself, S3 after it
    for row in reply.get("Parts", ()):
        number, etag, size = (required(row, name, what) for name in ("PartNumber", "ETag", "Size"))
        told = checksum(row)
        found.append(CompletedPart(number, _quoted(etag), size, {told.kind: told} if told else {}))
        if number <= last:
            raise S3Error(f"{what} are out of order: S3 lists part {number} after part {last}")
        last = number
    # rclone leaves out a false one; parts that are not listed are sent again.
    if not reply.get("IsTruncated"):
        return found, None
    following = int(required_element(reply, "NextPartNumberMarker", what))
    if not before < following <= MAX_PARTS:
        raise S3Error(
            f"{what} do not end: the page after part {before} is followed by that after {following}"
        )
    return found, following


def _quoted(etag: str) -> str:
    """An ETag as GET and If-Match write it (RFC 9110, 8.8.3); rclone lists it without its quotes."""
    return '"' + etag.strip('"') + '"'
