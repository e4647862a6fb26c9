"""Read and check S3's replies. Does no I/O."""

import re
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote, urlencode

from asyncstream.checksum import CRC64NVME, KINDS, Checksum, Composite
from asyncstream.errors import OtherVersion, ReplyIncomplete, S3Error, TruncatedBody
from asyncstream.locations import S3Object
from asyncstream.objects import (
    MAX_PARTS,
    ByteRange,
    CompletedPart,
    MultipartUpload,
    Origin,
    Stored,
    Written,
)
from asyncstream.s3.answered_by import FIRST_WORDS, between
from asyncstream.s3.dates import parse_date, parse_http_date
from asyncstream.s3.requests import ORIGIN, WEAK

# Headers that a copy keeps. GetObject's reply and PutObject's parameters have the same names for them. The
# storage class, ACL and encryption belong to the destination: extra_args sets them. Tags are another request.
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
_COMPOSITE = re.compile(r"[^-]+-[1-9]\d{0,4}")
_ETAG_OF_PARTS = re.compile(r'-\d+"?$')
# Without either header, a body ends when the connection is closed (RFC 9112, 6.3).
_FRAMING = frozenset({"content-length", "transfer-encoding"})
_CONTENT_RANGE = re.compile(r"bytes (\d+)-(\d+)/(\d+)")


def attributes(reply: Mapping[str, Any]) -> dict[str, Any]:
    """Return the headers of a GetObject reply that a copy keeps, as parameters of PutObject."""
    kept = {name: reply[name] for name in _KEPT if reply.get(name)}
    if "Metadata" in kept:
        # If the source is a copy itself, it has an origin of its own, which is not that of the new copy.
        kept["Metadata"] = {name: text for name, text in kept["Metadata"].items() if name != ORIGIN}
    if "Expires" in kept:
        kept["Expires"] = parse_http_date(kept["Expires"])
    if "ContentEncoding" in kept:
        # Some servers store the encoding of the request's body, which the SDK that wrote it used.
        codings = [each.strip() for each in kept["ContentEncoding"].split(",")]
        kept["ContentEncoding"] = ",".join(each for each in codings if each != "aws-chunked") or None
    return {name: value for name, value in kept.items() if value is not None}


def checksum(reply: Mapping[str, Any]) -> Checksum | None:
    """Return the whole object's checksum from a reply; None if it has none, or only that of its parts."""
    # moto leaves out both marks of a checksum of parts: its type, and the number of parts after its value.
    unmarked = _ETAG_OF_PARTS.search(reply.get("ETag", "")) and not reply.get("ChecksumType")
    for kind in KINDS:
        value = _checksum_value(reply, kind)
        if value and "-" not in value and (kind == CRC64NVME or not unmarked):
            return Checksum(kind, value)
    return None


def _checksum_value(reply: Mapping[str, Any], kind: str) -> str:
    """Return S3's text of a checksum; empty if it has none. botocore before 2026 does not know every kind."""
    headers = reply.get("ResponseMetadata", {}).get("HTTPHeaders", {})
    return str(reply.get(f"Checksum{kind}") or headers.get(f"x-amz-checksum-{kind.lower()}", ""))


def composite(reply: Mapping[str, Any]) -> Composite | None:
    """Return the checksum of the parts' checksums from a reply; None if it has none.

    S3 calls it COMPOSITE and writes "value-parts". It does not say where the parts end.
    """
    for kind in KINDS:
        value = _checksum_value(reply, kind)
        if value and _COMPOSITE.fullmatch(value):
            return Composite(kind, value)
    return None


def stored(reply: Mapping[str, Any], place: S3Object) -> Stored:
    """Return the object that a HeadObject reply describes.

    Raises:
        S3Error: the reply has no size or no ETag.
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
        parse_date(reply.get("LastModified")),
    )


def tags(reply: Mapping[str, Any], source: S3Object) -> str:
    """Return the tags of a GetObjectTagging reply in the format of PutObject's `Tagging`.

    Raises:
        S3Error, TruncatedBody: the reply has no list of tags, or a tag lacks its name or value.
    """
    what = f"GetObjectTagging {source}"
    rows = required_element(reply, "TagSet", what)
    pairs = [(required(row, "Key", what), required(row, "Value", what)) for row in rows]
    return urlencode(pairs, quote_via=quote, safe="")


def required(reply: Mapping[str, Any], name: str, what: str) -> Any:
    """Return a field of a reply to the request `what`.

    Raises:
        ReplyIncomplete: the field is missing. The message has the status and the first words of the reply.
    """
    value = reply.get(name)
    if value is None:
        raise ReplyIncomplete(_lacking(reply, name, what), status=_status(reply))
    return value


def required_element(reply: Mapping[str, Any], name: str, what: str) -> Any:
    """Return a field of the XML document in a reply to the request `what`.

    Raises:
        TruncatedBody: the field is missing, and the document ended with the connection, maybe too early.
        ReplyIncomplete: the field is missing; see `required`.
    """
    headers = reply.get("ResponseMetadata", {}).get("HTTPHeaders", dict.fromkeys(_FRAMING))
    if reply.get(name) is None and not _FRAMING & headers.keys():
        raise TruncatedBody(_lacking(reply, name, what))
    return required(reply, name, what)


def _lacking(reply: Mapping[str, Any], name: str, what: str) -> str:
    words = reply.get("ResponseMetadata", {}).get(FIRST_WORDS, b"")
    start = f" and begins with {words!r}" if words else ""
    return f"{what}: the reply of status {_status(reply)} has no {name}{start}"


def check_empty(reply: Mapping[str, Any], what: str) -> None:
    """Check that a reply is empty. If not, it may come from a network's sign-in page and not from S3.

    Raises:
        ReplyIncomplete: the reply has a body. The message has the status and the first words.
    """
    words = reply.get("ResponseMetadata", {}).get(FIRST_WORDS, b"")
    if words:
        raise ReplyIncomplete(
            f"{what}: the reply of status {_status(reply)} is not empty: it begins with {words!r}",
            status=_status(reply),
        )


def upload_id(reply: Mapping[str, Any], target: S3Object) -> str:
    """Return the id in CreateMultipartUpload's reply.

    Raises:
        S3Error: the reply has no id. If S3 has created an upload, `asyncstream clean` finds it.
    """
    return str(required_element(reply, "UploadId", f"CreateMultipartUpload {target}"))


def written(reply: Mapping[str, Any], what: str) -> Written:
    """Return the ETag and checksum of the object or part that the request `what` has written.

    Raises:
        S3Error: the reply has no ETag, so it is unknown whether S3 has written the bytes.
    """
    return Written(str(required(reply, "ETag", what)), checksum(reply))


def completed(reply: Mapping[str, Any], target: S3Object) -> Written:
    """Return the ETag and checksum of an object whose upload was completed.

    Raises:
        S3Error, TruncatedBody: the reply has no ETag, so it is unknown whether S3 has completed the upload.
    """
    return Written(str(required_element(reply, "ETag", f"CompleteMultipartUpload {target}")), checksum(reply))


def copied(reply: Mapping[str, Any], upload: MultipartUpload) -> Written:
    """Return the ETag and checksum of a part that S3 has copied.

    Raises:
        S3Error, TruncatedBody: the reply has no ETag.
    """
    what = f"UploadPartCopy {upload.target}"
    result = required_element(reply, "CopyPartResult", what)
    return Written(str(required_element(result, "ETag", what)), checksum(result))


def _status(reply: Mapping[str, Any]) -> int:
    return int(reply.get("ResponseMetadata", {}).get("HTTPStatusCode", 200))


def extent(reply: Mapping[str, Any], source: S3Object) -> tuple[ByteRange, int]:
    """Return the range of bytes in a GetObject reply, and the size of the whole object.

    Raises:
        S3Error: the reply does not say which bytes it has.
    """
    header = reply.get("ContentRange")
    if not header:
        if _status(reply) == 206:
            raise S3Error(
                f"GET of {source} was answered with 206 and no Content-Range: which bytes it has is unknown"
            )
        if "ContentLength" not in reply:
            raise S3Error(f"GET of {source} was answered without Content-Range and without Content-Length")
        size = int(reply["ContentLength"])
        return ByteRange(0, size), size
    match = _CONTENT_RANGE.fullmatch(header)
    if match is None:
        raise S3Error(f"GET of {source} was answered with Content-Range {header!r}, which is unreadable")
    start, last, size = map(int, match.groups())
    return ByteRange(start, last + 1), size


def check_pinned(reply: Mapping[str, Any], source: S3Object, etag: str | None) -> str:
    """Check that a reply has the ETag asked for, and return it. Some servers ignore If-Match.

    Raises:
        S3Error: the reply has no ETag.
        SourceChanged: the reply has another ETag.
    """
    found: str | None = reply.get("ETag")
    if found is None and str(reply.get("ContentType", "")).startswith("text/html"):
        raise S3Error(between(f"GET of {source}", _status(reply), "text/html"))
    if found is None:
        raise S3Error(f"GET of {source} was answered without an ETag: a change of it could not be detected")
    if etag is not None and strong(found) != strong(etag):
        raise source_changed(source, etag, found)
    return found


def check_extent(found: ByteRange, wanted: ByteRange | None, size: int, source: S3Object) -> None:
    """Check that a reply has the bytes that were asked for.

    Raises:
        S3Error: the server ignored the range or shortened it.
    """
    # A first range may extend past the end of the object, whose size is not yet known.
    expected = ByteRange(0, size) if wanted is None else ByteRange(wanted.start, min(wanted.stop, size))
    if found != expected:
        requested = "the whole" if wanted is None else wanted.header
        raise S3Error(
            f"GET of {source} asked for {requested} and was answered with bytes "
            f"{found.start}-{found.stop - 1} of {size}: this server does not serve ranges"
        )


def source_changed(source: S3Object, etag: str, found: str | None = None) -> OtherVersion:
    """Return the error for a source whose ETag changed."""
    now = f", now {found}" if found else ""
    return OtherVersion(f"{source} was overwritten during the transfer: its ETag was {etag}{now}")


def parts(
    reply: Mapping[str, Any], upload: MultipartUpload, after: int | None
) -> tuple[list[CompletedPart], int | None]:
    """Return the parts of one page, and the number that the next page starts after; None at the end.

    Each part has the checksum that S3 returns, if any. Part numbers must increase, else the pages would never
    end.

    Raises:
        S3Error: the reply names no upload, a part lacks a field or was not asked for, or the reply says that
            there are more parts but not where they continue.
    """
    what = f"the parts of upload {upload.upload_id} of {upload.target}"
    required_element(reply, "UploadId", what)
    found = []
    before = after or 0
    last = before - 1  # rclone's pages start at the number itself, and S3's after it
    for row in reply.get("Parts", ()):
        number, etag, size = (required(row, name, what) for name in ("PartNumber", "ETag", "Size"))
        stored_checksum = checksum(row)
        checksums = {stored_checksum.kind: stored_checksum} if stored_checksum else {}
        found.append(CompletedPart(number, quoted(etag), size, checksums))
        if number <= last:
            raise S3Error(f"{what} are out of order: S3 lists part {number} after part {last}")
        last = number
    # rclone omits a false IsTruncated. If parts are not listed, they are sent again.
    if not reply.get("IsTruncated"):
        return found, None
    following = int(required_element(reply, "NextPartNumberMarker", what))
    if not before < following <= MAX_PARTS:
        raise S3Error(f"{what} do not end: the next page after part {before} starts after part {following}")
    return found, following


def quoted(etag: str) -> str:
    """Return an ETag in quotes, as GET and If-Match write it (RFC 9110, 8.8.3). rclone lists it without."""
    return etag if etag.startswith(WEAK) else strong(etag)


def strong(etag: str) -> str:
    """Return an ETag in quotes, without the mark of a weak one: some servers do not always write both."""
    return '"' + etag.removeprefix(WEAK).strip('"') + '"'
