"""The judge of a run: compares the stored bytes with the source and the result, without asyncstream's code.

It reads from and lists the server directly, not through the proxy, with `http.client` and plain XML.
"""

from __future__ import annotations

import http.client
import re
import zlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING
from urllib.parse import quote, urlsplit
from xml.etree import ElementTree

if TYPE_CHECKING:
    from collections.abc import Sequence

SECONDS = 60.0
# A transfer must return within this many seconds after its deadline.
GRACE = 1.0
OURS = "AsyncstreamError"
# moto refuses anonymous reads; none of the servers checks the signature.
_CREDENTIAL = "AKIATESTING/20260101/us-east-1/s3/aws4_request"
_SIGNED = {"Authorization": f"AWS4-HMAC-SHA256 Credential={_CREDENTIAL}, SignedHeaders=host, Signature=0"}
# In the message of an error of `verify="after"`, which compares the object after it became visible.
_VISIBLE = "It is visible"


class Storage:
    """A server's buckets, accessed with plain requests.

    Args:
        url: the server's URL.
    """

    def __init__(self, url: str) -> None:
        self._address = urlsplit(url).netloc

    def create_bucket(self, bucket: str) -> None:
        """Create a bucket if it does not exist."""
        self._ask("PUT", f"/{bucket}", b"", accepted=(200, 409))

    def put(self, bucket: str, key: str, content: bytes, crc64nvme: str = "") -> None:
        """Write an object, with a checksum for the server to keep if one is given."""
        headers = {"x-amz-checksum-crc64nvme": crc64nvme, "x-amz-sdk-checksum-algorithm": "CRC64NVME"}
        headers = headers if crc64nvme else {}
        self._ask("PUT", _path(bucket, key), content, headers)

    def get(self, bucket: str, key: str) -> bytes | None:
        """Return an object's bytes; None if it does not exist."""
        status, body = self._ask("GET", _path(bucket, key), accepted=(200, 404))
        return body if status == 200 else None

    def delete(self, bucket: str, key: str) -> None:
        """Delete an object if it exists."""
        self._ask("DELETE", _path(bucket, key), accepted=(200, 204, 404))

    def uploads(self, bucket: str) -> list[tuple[str, str]]:
        """Return key and id of each multipart upload that was neither completed nor aborted."""
        # rclone answers 404 NoSuchUpload if there are none.
        status, body = self._ask("GET", f"/{bucket}?uploads", accepted=(200, 404))
        if status == 404:
            return []
        root = ElementTree.fromstring(body)
        return [
            (upload.findtext("{*}Key", ""), upload.findtext("{*}UploadId", ""))
            for upload in root.iterfind(".//{*}Upload")
        ]

    def abort(self, bucket: str, key: str, upload_id: str) -> None:
        """Abort an upload."""
        self._ask(
            "DELETE", f"{_path(bucket, key)}?uploadId={quote(upload_id, safe='')}", accepted=(200, 204, 404)
        )

    def _ask(
        self,
        method: str,
        path: str,
        body: bytes | None = None,
        headers: dict[str, str] | None = None,
        accepted: Sequence[int] = (200,),
    ) -> tuple[int, bytes]:
        connection = http.client.HTTPConnection(self._address, timeout=SECONDS)
        try:
            connection.request(method, path, body, _SIGNED | (headers or {}))
            reply = connection.getresponse()
            received = reply.read()
        finally:
            connection.close()
        if reply.status not in accepted:
            raise RuntimeError(f"{method} {path}: {reply.status} {received[:200]!r}")
        return reply.status, received


def _path(bucket: str, key: str) -> str:
    return f"/{bucket}/{quote(key)}"


@dataclass(frozen=True)
class Error:
    """An error of a result: the names of its class and base classes, its message, its notes."""

    kinds: tuple[str, ...]
    message: str
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Ended:
    """How a transfer of one file ended, according to its result.

    Attributes:
        status: the file's status: "copied", "failed", "skipped" or "pending"; "raised" if the call raised.
        seconds: how long the call took.
        deadline: the deadline of the call, in seconds.
        error: the file's error, or the error that the call raised.
        size: bytes of the source, according to the result.
        verified: "read" and "write", if the result names a checksum that matched there.
        upload_id: upload id of the continuation, if there is one.
        upload_left: the sentence about an upload that may be left, if there is one.
        complaints: warnings, log records, and exceptions that Python dropped.
        continued: the file's status after a second transfer without the proxy; "" if there was none.
    """

    status: str
    seconds: float
    deadline: float
    error: Error | None = None
    size: int = 0
    verified: frozenset[str] = frozenset()
    upload_id: str = ""
    upload_left: str = ""
    complaints: tuple[str, ...] = ()
    continued: str = ""


@dataclass(frozen=True)
class Expected:
    """Facts about a file that the judge compares the result with.

    Attributes:
        source: the source's bytes.
        previous: the bytes at the destination before the transfer; None if it did not exist.
        gzipped: whether the destination must be the source as gzip.
        unprotected: "read" and "write", if bytes were damaged there and the server sent no checksum.
        keeps_previous: whether an object at the destination must not be overwritten.
    """

    source: bytes
    previous: bytes | None = None
    gzipped: bool = False
    unprotected: frozenset[str] = frozenset()
    keeps_previous: bool = False


@dataclass(frozen=True)
class Found:
    """The server's state after the transfer: the destination's bytes (None if absent) and upload ids."""

    stored: bytes | None
    uploads: tuple[str, ...] = field(default=())


# Possible findings of a run, in the order of the table.
FINDINGS = ("wrong", "short", "spoilt", "late", "left", "odd", "warned")
UNPROTECTED = "unprotected"


def judge(ended: Ended, expected: Expected, found: Found) -> dict[str, str]:
    """Return the reasons against a run, by names of `FINDINGS` or `UNPROTECTED`."""
    verdicts = dict(_about_bytes(ended, expected, found.stored))
    if ended.seconds > ended.deadline + GRACE:
        verdicts["late"] = f"{ended.seconds:.2f} s with a deadline of {ended.deadline:g} s"
    mentioned = " ".join((ended.upload_id, *_sentences(ended)))
    left = [upload for upload in found.uploads if upload not in mentioned and not _names_a_lost_upload(ended)]
    if left:
        verdicts["left"] = f"{len(left)} uploads that the result does not name: {left[0]}"
    if ended.error is not None and OURS not in ended.error.kinds:
        verdicts["odd"] = f"{ended.error.kinds[0]}: {ended.error.message}"
    elif ended.status == "raised" and ended.error is not None:
        verdicts["odd"] = f"the call raised {ended.error.kinds[0]}: {ended.error.message}"
    elif ended.status == "copied" and ended.size != len(expected.source):
        verdicts["odd"] = f"the result says {ended.size} bytes, the source has {len(expected.source)}"
    elif ended.continued not in {"", "copied"}:
        verdicts["odd"] = f"{ended.continued} after it was continued without faults"
    if ended.complaints:
        verdicts["warned"] = ended.complaints[0]
    return verdicts


def _about_bytes(ended: Ended, expected: Expected, stored: bytes | None) -> list[tuple[str, str]]:
    difference = _difference(expected, stored)
    if ended.status in {"copied", "skipped"} or ended.continued == "copied":
        overwritten = ended.status == "copied" and expected.keeps_previous and expected.previous is not None
        if difference is None and overwritten:
            return [("wrong", 'an object that if_exists="fail" protects was overwritten')]
    elif stored == expected.previous or _tells_that_it_is_visible(ended):
        return []
    elif difference is not None:
        size = "absent" if stored is None else f"of {len(stored)} bytes"
        difference = "spoilt", f"the destination is neither unchanged nor the source: {size}, {difference[1]}"
    if difference is None:
        return []
    excused = expected.unprotected - ended.verified and difference[0] != "short"
    return [(UNPROTECTED, difference[1]) if excused else difference]


def _tells_that_it_is_visible(ended: Ended) -> bool:
    return ended.error is not None and _VISIBLE in ended.error.message


def _difference(expected: Expected, stored: bytes | None) -> tuple[str, str] | None:
    """Return how the destination differs from the expected bytes: a finding and its reason."""
    if stored is None:
        return "wrong", "there is no object"
    if expected.gzipped:
        try:
            unpacked = _gunzip(stored)
        except (zlib.error, EOFError) as error:
            return "wrong", f"not gzip: {error}"
    else:
        unpacked = stored
    if len(unpacked) < len(expected.source):
        return "short", f"{len(unpacked)} of {len(expected.source)} bytes"
    if unpacked != expected.source:
        at = next(
            (i for i, pair in enumerate(zip(unpacked, expected.source, strict=False)) if pair[0] != pair[1]),
            -1,
        )
        return "wrong", f"{len(unpacked)} bytes of {len(expected.source)}; they first differ at byte {at}"
    return None


def _gunzip(stored: bytes) -> bytes:
    reader = zlib.decompressobj(wbits=31)
    unpacked = reader.decompress(stored) + reader.flush()
    if not reader.eof or reader.unused_data:
        raise EOFError("cut short, or followed by other bytes")
    return unpacked


def _names_a_lost_upload(ended: Ended) -> bool:
    """Return whether a note says that an upload may be left whose id the client never received."""
    return any(re.search(r"upload may be left", sentence) for sentence in _sentences(ended))


def _sentences(ended: Ended) -> tuple[str, ...]:
    return (ended.upload_left, *(ended.error.notes if ended.error else ()))
