"""Build requests for files, and parse their replies: size, version, range, checksum, attributes. Pure."""

import re
from collections.abc import Iterator, Mapping
from typing import Any

from msgspec import Struct

from asyncstream.checksum import Checksum, checkable_in_parts, is_digest
from asyncstream.errors import BodyUnreadable, PageFailed, SourceChanged
from asyncstream.locations import WebFile
from asyncstream.locations.urls import Url
from asyncstream.objects import ByteRange
from asyncstream.web.decoding import check_framing
from asyncstream.web.ports import Reply

_CONTENT_RANGE = re.compile(r"bytes (\d{1,18})-(\d{1,18})/(\d{1,18})")
# The statuses of a reply with a whole file.
_WHOLE = frozenset({200, 203})
# Visible ASCII and spaces, and not longer than servers send: a version is sent back, and stored with copies.
_VERSION = re.compile(r"[\x20-\x7e]{1,256}")
# The headers that describe a file's content, as parameters of PutObject.
_KEPT = {
    "content-type": "ContentType",
    "content-encoding": "ContentEncoding",
    "content-language": "ContentLanguage",
    "content-disposition": "ContentDisposition",
}
# The names of checksums in Repr-Digest and Content-Digest (RFC 9530), Digest (RFC 3230) and x-goog-hash. The
# first that a reply has is used: a CRC can be compared although the file is read in parts.
_KINDS = {"crc32c": "CRC32C", "sha-256": "SHA256", "sha-512": "SHA512", "md5": "MD5"}
_DIGESTS = re.compile(r"([A-Za-z0-9-]+)=:?([A-Za-z0-9+/]+={0,2}):?")


class FoundFile(Struct, frozen=True):
    """A file, as a reply describes it.

    Attributes:
        size: bytes of the whole file; None if the reply does not say.
        version: the strong ETag, else the date of the last change; "" if the reply has neither.
        range: the bytes in the reply; its end has no meaning if the size is unknown.
        in_ranges: whether the server says that it serves ranges of this version.
        checksum: the checksum of all bytes, if the reply has one.
        attributes: the headers that a copy keeps, as parameters of PutObject.
    """

    size: int | None
    version: str
    range: ByteRange
    in_ranges: bool
    checksum: Checksum | None
    attributes: Mapping[str, Any]


def request_headers(
    range_: ByteRange | None, version: str | None, if_none_match: str | None
) -> Mapping[str, str]:
    """Return the headers of a request: for a range of one version, or for a changed file.

    If-Range makes a server send the whole file if it has another version, and the reply shows which.
    """
    headers = {"Accept-Encoding": "identity"}
    if range_ is not None:
        headers["Range"] = range_.header
        if version:
            headers["If-Range"] = version
    if if_none_match:
        name = "If-None-Match" if _is_etag(if_none_match) else "If-Modified-Since"
        headers[name] = if_none_match
    return headers


def parse(reply: Reply, url: Url, source: WebFile, range_: ByteRange | None) -> FoundFile:
    """Parse the reply to a request for `range_` of a file (None: the whole).

    Raises:
        PageFailed: it has no file: 202 promises one for later, 204 says that there is none.
        BodyUnreadable: its headers contradict each other, or do not say where the body ends.
        SourceChanged: the file does not have the expected size.
    """
    headers = reply.headers
    if reply.status not in _WHOLE and (reply.status != 206 or range_ is None):
        raise PageFailed(f"{url}: the server answered {reply.status}, and not with the file", reply.status)
    check_framing(headers, url)
    size: int | None
    if reply.status == 206:
        found, size = _content_range(headers.get("content-range", ""), url)
    else:
        size = _length(headers)
        found = ByteRange(0, size or 0)
        endless = size is None and headers.get("transfer-encoding", "").strip().lower() != "chunked"
        if endless and source.size is None and source.sha256 is None:
            raise BodyUnreadable(
                f"{url}: the reply has neither a length nor chunks, so a broken connection would look like "
                "its end: give the size or the SHA-256 of the file"
            )
    if size is not None and source.size not in {None, size}:
        raise SourceChanged(f"{source} has {size} bytes, and should have {source.size}")
    version = _version(headers)
    units = {each.strip().lower() for each in headers.get("accept-ranges", "").split(",")}
    return FoundFile(
        size,
        version,
        found,
        "bytes" in units and bool(version),
        _checksum(headers) if reply.status in _WHOLE else None,
        dict(_attributes(headers)),
    )


def needs_order(checksum: Checksum | None) -> bool:
    """Whether bytes can be compared with a checksum only if they are read in order: a hash, not a CRC."""
    return checksum is not None and not checkable_in_parts(checksum.kind)


def _content_range(text: str, url: Url) -> tuple[ByteRange, int]:
    match = _CONTENT_RANGE.fullmatch(text.strip())
    if match is None:
        raise BodyUnreadable(f"{url}: a part of the file came with Content-Range {text[:100]!r}")
    start, last, size = map(int, match.groups())
    return ByteRange(start, last + 1), size


def _attributes(headers: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    """Yield the headers that a copy keeps, without those that a server would refuse."""
    for header, name in _KEPT.items():
        # http.client keeps the line breaks of a header that is folded, which aiohttp replaces.
        value = re.sub(r"\r?\n[ \t]+", " ", headers.get(header, ""))
        if value and value.isprintable():
            yield name, value


def _length(headers: Mapping[str, str]) -> int | None:
    text = headers.get("content-length", "").strip()
    return int(text) if text else None


def _version(headers: Mapping[str, str]) -> str:
    """Return what If-Range takes: a strong ETag, else the date of the last change (RFC 9110, 13.1.5)."""
    etag, date = (headers.get(name, "").strip() for name in ("etag", "last-modified"))
    version = etag if _is_etag(etag) else date
    return version if _VERSION.fullmatch(version) else ""


def _is_etag(text: str) -> bool:
    return len(text) > 2 and text.startswith('"') and text.endswith('"')


def _checksum(headers: Mapping[str, str]) -> Checksum | None:
    found = dict(_digests(headers))
    return next((found[kind] for kind in _KINDS.values() if kind in found), None)


def _digests(headers: Mapping[str, str]) -> Iterator[tuple[str, Checksum]]:
    """Yield the checksums in the headers, without malformed ones."""
    texts = [headers.get(name, "") for name in ("digest", "content-digest", "repr-digest")]
    # Google Cloud Storage unpacks what it stores as gzip, and sends the checksum of what it stores.
    stored, sent = (headers.get(f"{name}content-encoding", "identity") for name in ("x-goog-stored-", ""))
    if stored == sent:
        texts.append(headers.get("x-goog-hash", ""))
    texts.append(f"md5={headers.get('content-md5', '').strip()}")
    for name, value in _DIGESTS.findall(",".join(texts)):
        kind = _KINDS.get(name.lower())
        if kind is not None and is_digest(value, kind):
            yield kind, Checksum(kind, value)
