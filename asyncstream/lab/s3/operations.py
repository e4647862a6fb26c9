"""S3's operations on buckets and whole objects. Each turns a call into a reply."""

from __future__ import annotations

import re
from dataclasses import dataclass
from email.utils import formatdate
from typing import TYPE_CHECKING

from asyncstream.lab.s3.checksums import CRC64NVME, declared_digests, encoded_crc64nvme
from asyncstream.lab.s3.lab_replies import Reply, S3Error, parse_xml, xml_reply, xml_time
from asyncstream.lab.s3.objects import StoredObject

if TYPE_CHECKING:
    from asyncstream.lab.s3.body import Body, Received
    from asyncstream.lab.s3.http import Request
    from asyncstream.lab.s3.objects import Bucket, Store

REGION = "us-east-1"
LONGEST_PAGE = 1000  # maximum entries in a reply
BUCKET_NAME = re.compile(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]")
SYSTEM_METADATA = (
    "Content-Type",
    "Content-Encoding",
    "Content-Disposition",
    "Content-Language",
    "Cache-Control",
    "Expires",
)


@dataclass(frozen=True, slots=True)
class Call:
    """One call of an operation."""

    store: Store
    request: Request
    body: Body
    bucket: str = ""
    key: str = ""


def list_buckets(call: Call) -> Reply:
    """Answer ListBuckets."""
    with call.store.lock:
        buckets = sorted(call.store.buckets.items())
    described = [{"Name": name, "CreationDate": xml_time(bucket.created)} for name, bucket in buckets]
    return xml_reply("ListAllMyBucketsResult", {"Owner": {"ID": "lab"}, "Buckets": {"Bucket": described}})


def create_bucket(call: Call) -> Reply:
    """Answer CreateBucket. As in S3, the bucket keeps content.

    With Object Lock, uploads need a checksum, as in S3 with a default retention. Nothing is retained.
    """
    call.body.read()
    if not BUCKET_NAME.fullmatch(call.bucket):
        raise S3Error("InvalidBucketName", "The specified bucket is not valid.", BucketName=call.bucket)
    locked = call.request.headers.get("x-amz-bucket-object-lock-enabled", "").lower() == "true"
    call.store.create_bucket(call.bucket, keep=True, locked=locked)
    return Reply(headers={"Location": f"/{call.bucket}"})


def head_bucket(call: Call) -> Reply:
    """Answer HeadBucket."""
    call.store.bucket(call.bucket)
    return Reply(headers={"x-amz-bucket-region": REGION})


def get_bucket_location(call: Call) -> Reply:
    """Answer GetBucketLocation. As in S3, us-east-1 is an empty name."""
    call.store.bucket(call.bucket)
    return xml_reply("LocationConstraint", {})


def delete_bucket(call: Call) -> Reply:
    """Answer DeleteBucket."""
    with call.store.lock:
        if call.store.bucket(call.bucket).sorted_keys():
            raise S3Error("BucketNotEmpty", "The bucket you tried to delete is not empty")
        del call.store.buckets[call.bucket]
    return Reply(204)


def get_object(call: Call) -> Reply:
    """Answer GetObject and HeadObject, which differ only in the body."""
    headers = call.request.headers
    stored = call.store.bucket(call.bucket).object(call.key)
    if (version := call.request.query.get("versionId", "null")) != "null":
        raise S3Error("NoSuchVersion", "The specified version does not exist.", VersionId=version)
    check_match(headers.get("if-match", "*"), stored)
    described = _description(stored)
    if "if-none-match" in headers and _matches(headers["if-none-match"], stored):
        return Reply(304, described)
    selected, checksums = _selected(call.request, stored)
    start, stop = selected or (0, stored.size)
    if selected:
        described["Content-Range"] = f"bytes {start}-{stop - 1}/{stored.size}"
    if headers.get("x-amz-checksum-mode", "").upper() == "ENABLED":
        described |= checksums
    if stored.parts and "partNumber" in call.request.query:
        described["x-amz-mp-parts-count"] = str(len(stored.parts))
    content = call.store.read_content(stored) if call.request.method == "GET" else None
    return Reply(206 if selected else 200, described, content=content, start=start, stop=stop)


def _selected(request: Request, stored: StoredObject) -> tuple[tuple[int, int] | None, dict[str, str]]:
    """Return a request's range, or None for all bytes, and the headers with its checksum."""
    asked = request.headers.get("range")
    if "partNumber" in request.query:
        if asked is not None:
            raise S3Error("InvalidRequest", "Cannot specify both Range header and partNumber query parameter")
        return select_part(parse_number("partNumber", request.query["partNumber"]), stored)
    selected = parse_range(asked or "", stored.size)
    return selected, {} if selected else stored.checksum_headers


def select_part(number: int, stored: StoredObject) -> tuple[tuple[int, int] | None, dict[str, str]]:
    """Return the range of one of an object's uploaded parts, and the headers with its checksum.

    An object without a multipart upload is one part.
    """
    if not 1 <= number <= max(1, len(stored.parts)):
        message = "The requested partnumber is not satisfiable"
        raise S3Error(
            "InvalidPartNumber", message, ActualPartCount=len(stored.parts), PartNumberRequested=number
        )
    if not stored.parts:
        return (0, stored.size) if stored.size else None, stored.checksum_headers
    start = sum(part.size for part in stored.parts[: number - 1])
    part = stored.parts[number - 1]
    return (start, start + part.size) if part.size else None, stored.headers_for(part.checksums)


def parse_range(header: str, size: int) -> tuple[int, int] | None:
    """Return the half-open range that a Range header selects; None if S3 would ignore the header."""
    match = re.fullmatch(r"bytes=(\d*)-(\d*)", header.strip())
    if not match or match.group(0) == "bytes=-":
        return None
    first, last = match.groups()
    if not first:
        start, stop = max(0, size - int(last)), size
    else:
        start, stop = int(first), min(int(last) + 1, size) if last else size
        if last and int(last) < start:
            return None
    if start >= size:
        message = "The requested range is not satisfiable"
        raise S3Error("InvalidRange", message, RangeRequested=header, ActualObjectSize=size)
    return start, stop


def put_object(call: Call) -> Reply:
    """Answer PutObject."""
    bucket = call.store.bucket(call.bucket)
    check_write_conditions(bucket.get(call.key), call.request)
    check_lock(bucket, call.request, "Put Object")
    received = call.body.save(call.store.new_file(bucket), verify=bucket.checksums)
    stored = StoredObject(
        received.size,
        received.crc,
        received.content,
        metadata(call.request),
        checksums=kept_checksums(received) if bucket.checksums else {},
    )
    with call.store.lock:
        check_write_conditions(bucket.get(call.key), call.request)  # another write may have been faster
        bucket.put(call.key, stored)
    return Reply(headers={"ETag": stored.etag, **stored.checksum_headers})


def delete_object(call: Call) -> Reply:
    """Answer DeleteObject."""
    with call.store.lock:
        call.store.bucket(call.bucket).delete(call.key)
    return Reply(204)


def delete_objects(call: Call) -> Reply:
    """Answer DeleteObjects."""
    root = parse_xml(call.body.read())
    keys = [element.findtext("Key", "") for element in root.iter("Object")]
    if not keys or not all(keys):
        raise S3Error("MalformedXML", "A batch names at least one key")
    with call.store.lock:
        bucket = call.store.bucket(call.bucket)
        for key in keys:
            bucket.delete(key)
    quiet = root.findtext("Quiet") == "true"
    return xml_reply("DeleteResult", {"Deleted": [] if quiet else [{"Key": key} for key in keys]})


def check_write_conditions(existing: StoredObject | None, request: Request) -> None:
    """Refuse to write if If-None-Match or If-Match does not hold."""
    if request.headers.get("if-none-match") == "*" and existing:
        raise _precondition_failed("If-None-Match")
    if (expected := request.headers.get("if-match")) is None:
        return
    if existing is None:
        raise S3Error("NoSuchKey", "The specified key does not exist.")
    if not _matches(expected, existing):
        raise _precondition_failed("If-Match")


def check_lock(bucket: Bucket, request: Request, kind: str) -> None:
    """Refuse an upload to a locked bucket if it announces no checksum."""
    if bucket.locked and "content-md5" not in request.headers and not declared_digests(request.headers):
        message = f"Content-MD5 OR x-amz-checksum- HTTP header is required for {kind} requests"
        raise S3Error("InvalidRequest", f"{message} with Object Lock parameters")


def _precondition_failed(header: str) -> S3Error:
    message = "At least one of the pre-conditions you specified did not hold"
    return S3Error("PreconditionFailed", message, Condition=header)


def parse_number(name: str, text: str) -> int:
    """Return the number in a query parameter."""
    if not (text.isascii() and text.isdigit()):
        raise S3Error("InvalidArgument", f"{name} must be a number, not {text!r}", ArgumentName=name)
    return int(text)


def metadata(request: Request) -> dict[str, str]:
    """Return the headers to keep with an object."""
    kept = {
        name: request.headers[name.lower()] for name in SYSTEM_METADATA if name.lower() in request.headers
    }
    encodings = [coding.strip() for coding in kept.pop("Content-Encoding", "").split(",")]
    if encoding := ",".join(coding for coding in encodings if coding != "aws-chunked"):
        kept["Content-Encoding"] = encoding
    user = {name: value for name, value in request.headers.items() if name.startswith("x-amz-meta-")}
    return {"Content-Type": "binary/octet-stream", **kept, **user}


def kept_checksums(received: Received) -> dict[str, str]:
    """Return the checksum that an object keeps: the one in its request, else CRC64NVME."""
    if len(received.checksums) == 1:
        return received.checksums
    return {CRC64NVME: encoded_crc64nvme(received.crc)}


def check_match(etags: str, stored: StoredObject) -> None:
    """Raise PreconditionFailed if an object has none of these ETags."""
    if not _matches(etags, stored):
        raise _precondition_failed("If-Match")


def _matches(etags: str, stored: StoredObject) -> bool:
    return etags.strip() == "*" or stored.etag.strip('"') in {etag.strip(' "') for etag in etags.split(",")}


def _description(stored: StoredObject) -> dict[str, str]:
    return {
        "Content-Type": "binary/octet-stream",
        **stored.headers,
        "ETag": stored.etag,
        "Last-Modified": formatdate(stored.modified, usegmt=True),
        "Accept-Ranges": "bytes",
    }
