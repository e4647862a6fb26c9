"""S3's operation UploadPartCopy: a part that is a range of an object of the same store."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import unquote

from asyncstream.lab.s3.checksums import ALGORITHMS, CRC64NVME, crc64nvme, encoded, encoded_crc64nvme
from asyncstream.lab.s3.lab_replies import S3Error, xml_reply, xml_time
from asyncstream.lab.s3.multipart import parse_part_number
from asyncstream.lab.s3.objects import StoredObject
from asyncstream.lab.s3.operations import check_match

if TYPE_CHECKING:
    from collections.abc import Iterator

    from asyncstream.lab.s3.content import Content, Slice
    from asyncstream.lab.s3.lab_replies import Reply
    from asyncstream.lab.s3.operations import Call

# A range can be copied of larger objects only (API reference, "UploadPartCopy").
LARGEST_WHOLE = 5 * 1024 * 1024
_READ_AT_ONCE = 1024 * 1024


@dataclass(frozen=True, slots=True)
class RangeOfContent:
    """A range of other content."""

    content: Content
    start: int

    def slices(self, start: int, stop: int) -> Iterator[Slice]:
        """Yield the slices of the range."""
        return self.content.slices(self.start + start, self.start + stop)


def upload_part_copy(call: Call) -> Reply:
    """Answer UploadPartCopy."""
    call.body.read()
    headers = call.request.headers
    number = parse_part_number(call)
    bucket, _, key = unquote(headers["x-amz-copy-source"].split("?")[0]).removeprefix("/").partition("/")
    with call.store.lock:
        source = call.store.bucket(bucket).object(key)
        algorithm = call.store.bucket(call.bucket).upload(call.request.query["uploadId"], call.key).algorithm
    check_match(headers.get("x-amz-copy-source-if-match", "*"), source)
    start, stop = _range(headers.get("x-amz-copy-source-range"), source.size)
    content = call.store.read_content(source)
    part = _part(RangeOfContent(content, start), stop - start, algorithm)
    with call.store.lock:
        call.store.bucket(call.bucket).upload(call.request.query["uploadId"], call.key).parts[number] = part
    fields = {"LastModified": xml_time(part.modified), "ETag": part.etag, **part.checksum_elements}
    return xml_reply("CopyPartResult", fields)


def _range(header: str | None, size: int) -> tuple[int, int]:
    if header is None:
        return 0, size
    match = re.fullmatch(r"bytes=(\d+)-(\d+)", header)
    if match is None or not int(match[1]) <= int(match[2]) < size or size <= LARGEST_WHOLE:
        raise S3Error("InvalidRange", "The specified copy range is invalid", ActualObjectSize=size)
    return int(match[1]), int(match[2]) + 1


def _part(content: Content, size: int, algorithm: str | None) -> StoredObject:
    digest = ALGORITHMS[algorithm]() if algorithm and algorithm != CRC64NVME else None
    crc = 0
    for descriptor, offset, length in content.slices(0, size):
        for at in range(offset, offset + length, _READ_AT_ONCE):
            piece = memoryview(os.pread(descriptor, min(_READ_AT_ONCE, offset + length - at), at))
            crc = crc64nvme(piece, crc)
            if digest is not None:
                digest.update(piece)
    checksums: dict[str, str] = {}
    if algorithm == CRC64NVME:
        checksums[CRC64NVME] = encoded_crc64nvme(crc)
    elif algorithm and digest is not None:
        checksums[algorithm] = encoded(digest)
    return StoredObject(size, crc, content, checksums=checksums)
