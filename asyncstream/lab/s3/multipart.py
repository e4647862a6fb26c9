"""S3's operations on multipart uploads. Each turns a call into a reply."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING

from asyncstream.lab.s3.checksums import (
    COMPOSITE,
    CRC64NVME,
    FULL_OBJECT,
    can_be,
    checksum_header,
    checksum_kind,
    combine_crc64nvme,
    composite,
    encoded_crc64nvme,
    full_object,
)
from asyncstream.lab.s3.content import JoinedContent
from asyncstream.lab.s3.lab_replies import Reply, S3Error, XmlValue, parse_xml, xml_reply, xml_time
from asyncstream.lab.s3.objects import MultipartUpload, Part, StoredObject
from asyncstream.lab.s3.operations import (
    LONGEST_PAGE,
    check_lock,
    check_write_conditions,
    metadata,
    parse_number,
)

if TYPE_CHECKING:
    from collections.abc import Sequence
    from xml.etree.ElementTree import Element

    from asyncstream.lab.s3.http import Request
    from asyncstream.lab.s3.operations import Call

SMALLEST_PART = 5 * 1024 * 1024
MAX_PARTS = 10_000


def create_multipart_upload(call: Call) -> Reply:
    """Answer CreateMultipartUpload."""
    call.body.read()
    bucket = call.store.bucket(call.bucket)
    echoed: dict[str, str] = {}
    if bucket.checksums:
        algorithm, checksum_type = _asked_checksum(call.request)
        upload = MultipartUpload(call.key, metadata(call.request), algorithm, checksum_type)
        fields = {"x-amz-checksum-algorithm": checksum_kind(algorithm), "x-amz-checksum-type": checksum_type}
        if (
            "x-amz-checksum-algorithm" in call.request.headers
            or "x-amz-checksum-type" in call.request.headers
        ):
            echoed = fields
    else:
        upload = MultipartUpload(call.key, metadata(call.request), algorithm=None)
    with call.store.lock:
        call.store.bucket(call.bucket).uploads[upload.id] = upload
    named = {"Bucket": call.bucket, "Key": call.key, "UploadId": upload.id}
    return xml_reply("InitiateMultipartUploadResult", named, echoed)


def _asked_checksum(request: Request) -> tuple[str, str]:
    """Return header and type of the requested checksum of an upload."""
    kind = request.headers.get("x-amz-checksum-algorithm", "CRC64NVME")
    algorithm = checksum_header(kind)
    if algorithm is None:
        raise S3Error("InvalidRequest", f"Checksum algorithm provided is unsupported: {kind}")
    usual = FULL_OBJECT if algorithm == CRC64NVME else COMPOSITE
    checksum_type = request.headers.get("x-amz-checksum-type", usual)
    if checksum_type not in (FULL_OBJECT, COMPOSITE) or not can_be(algorithm, checksum_type):
        message = f"The {checksum_type} checksum type cannot be used with the {kind} checksum algorithm."
        raise S3Error("InvalidRequest", message)
    return algorithm, checksum_type


def upload_part(call: Call) -> Reply:
    """Answer UploadPart."""
    number = parse_part_number(call)
    bucket = call.store.bucket(call.bucket)
    check_lock(bucket, call.request, "Put Part")
    upload_id = call.request.query["uploadId"]
    algorithm = bucket.upload(upload_id, call.key).algorithm
    received = call.body.save(
        call.store.new_file(bucket),
        verify=bucket.checksums,
        compute=[algorithm] if algorithm and algorithm != CRC64NVME else [],
    )
    checksums = dict(received.checksums)
    if algorithm == CRC64NVME:
        checksums[CRC64NVME] = encoded_crc64nvme(received.crc)
    part = StoredObject(received.size, received.crc, received.content, checksums=checksums)
    with call.store.lock:
        bucket.upload(upload_id, call.key).parts[number] = part  # raises if it was aborted in the meantime
    return Reply(headers={"ETag": part.etag, **part.checksums})


def parse_part_number(call: Call) -> int:
    """Return the number of the part that a call writes."""
    number = parse_number("partNumber", call.request.query["partNumber"])
    if not 1 <= number <= MAX_PARTS:
        raise S3Error("InvalidArgument", f"Part number must be between 1 and {MAX_PARTS}")
    return number


def complete_multipart_upload(call: Call) -> Reply:
    """Answer CompleteMultipartUpload."""
    named = parse_xml(call.body.read()).findall("Part")
    with call.store.lock:
        bucket = call.store.bucket(call.bucket)
        upload = bucket.upload(call.request.query["uploadId"], call.key)
        parts = choose_parts(named, upload)
        completed = join_parts(parts, upload)
        _check_declared(call, upload, completed)
        check_write_conditions(bucket.get(call.key), call.request)
        bucket.put(call.key, completed)
        del bucket.uploads[upload.id]
    fields = {
        "Location": call.request.path,
        "Bucket": call.bucket,
        "Key": call.key,
        "ETag": completed.etag,
        **completed.checksum_elements,
        "ChecksumType": completed.checksum_type if completed.checksums else None,
    }
    return xml_reply("CompleteMultipartUploadResult", fields)


def choose_parts(named: Sequence[Element], upload: MultipartUpload) -> list[StoredObject]:
    """Return the parts named in a Complete request, or raise S3's error about them."""
    try:
        numbers = [int(element.findtext("PartNumber", "")) for element in named]
    except ValueError:
        raise S3Error("MalformedXML", "A part has no number") from None
    if not numbers:
        raise S3Error("MalformedXML", "You must specify at least one part")
    if any(later <= earlier for earlier, later in pairwise(numbers)):
        raise S3Error("InvalidPartOrder", "The list of parts was not in ascending order.", UploadId=upload.id)
    parts = [_named_part(number, element, upload) for number, element in zip(numbers, named, strict=True)]
    for part in parts[:-1]:
        if part.size < SMALLEST_PART:
            message = "Your proposed upload is smaller than the minimum allowed size"
            raise S3Error(
                "EntityTooSmall",
                message,
                ProposedSize=part.size,
                MinSizeAllowed=SMALLEST_PART,
                ETag=part.etag,
            )
    return parts


def _named_part(number: int, element: Element, upload: MultipartUpload) -> StoredObject:
    part = upload.parts.get(number)
    etag = element.findtext("ETag", "").strip('"')
    if part is None or part.etag.strip('"') != etag:
        message = "One or more of the specified parts could not be found, or its ETag did not match"
        raise S3Error("InvalidPart", message, UploadId=upload.id, PartNumber=number, ETag=etag)
    known = part.checksum_elements
    if any(element.findtext(name, checksum) != checksum for name, checksum in known.items()):
        raise S3Error("InvalidPart", "A part's checksum did not match", UploadId=upload.id, PartNumber=number)
    return part


def join_parts(parts: Sequence[StoredObject], upload: MultipartUpload) -> StoredObject:
    """Return the object made of the parts. Its checksum is computed from theirs."""
    crc = 0
    for part in parts:
        crc = combine_crc64nvme(crc, part.crc, part.size)
    contents = [(part.content, part.size) for part in parts if part.content]
    content = JoinedContent(contents) if len(contents) == len(parts) else None
    return StoredObject(
        sum(part.size for part in parts),
        crc,
        content,
        upload.headers,
        parts=tuple(Part(part.size, part.checksums) for part in parts),
        checksums=_joined_checksums(parts, upload),
        checksum_type=upload.checksum_type,
    )


def _joined_checksums(parts: Sequence[StoredObject], upload: MultipartUpload) -> dict[str, str]:
    name = upload.algorithm
    if name is None:
        return {}
    if upload.composite:
        return {name: composite(name, (part.checksums[name] for part in parts))}
    return {name: full_object(name, ((part.checksums[name], part.size) for part in parts))}


def _check_declared(call: Call, upload: MultipartUpload, completed: StoredObject) -> None:
    """Compare the size and checksum that the client declares for the whole object with the received parts."""
    size = call.request.headers.get("x-amz-mp-object-size", str(completed.size))
    if size != str(completed.size):
        message = f"The provided x-amz-mp-object-size {size} does not match the parts' {completed.size} bytes"
        raise S3Error("InvalidRequest", message)
    if upload.algorithm is None:
        return
    checksum_type = call.request.headers.get("x-amz-checksum-type", upload.checksum_type)
    if checksum_type != upload.checksum_type:
        message = f"The upload was created using the {upload.checksum_type} checksum mode."
        raise S3Error("InvalidRequest", f"{message} The complete request must use the same checksum mode.")
    for name, checksum in completed.checksums.items():
        declared = call.request.headers.get(name, checksum)
        if declared.partition("-")[0] != checksum.partition("-")[0]:  # composite: without the number of parts
            message = f"The {checksum_kind(name)} you specified did not match the calculated checksum"
            raise S3Error("BadDigest", message, Declared=declared, Calculated=checksum)


def abort_multipart_upload(call: Call) -> Reply:
    """Answer AbortMultipartUpload."""
    with call.store.lock:
        bucket = call.store.bucket(call.bucket)
        del bucket.uploads[bucket.upload(call.request.query["uploadId"], call.key).id]
    return Reply(204)


def list_parts(call: Call) -> Reply:
    """Answer ListParts."""
    query = call.request.query
    after = parse_number("part-number-marker", query.get("part-number-marker", "0"))
    limit = min(parse_number("max-parts", query.get("max-parts", "1000")), LONGEST_PAGE)
    upload_id = query["uploadId"]
    with call.store.lock:
        upload = call.store.bucket(call.bucket).upload(upload_id, call.key)
        parts = sorted(item for item in upload.parts.items() if item[0] > after)
    page = parts[:limit]
    fields: dict[str, XmlValue] = {
        "Bucket": call.bucket,
        "Key": call.key,
        "UploadId": upload_id,
        "PartNumberMarker": after,
        "NextPartNumberMarker": page[-1][0] if page else 0,
        "MaxParts": limit,
        "IsTruncated": len(parts) > limit,
        "Part": [{"PartNumber": number, **_described(part)} for number, part in page],
    }
    return xml_reply("ListPartsResult", fields)


def _described(part: StoredObject) -> dict[str, str | int]:
    return {
        "LastModified": xml_time(part.modified),
        "ETag": part.etag,
        "Size": part.size,
        **part.checksum_elements,
    }


def list_multipart_uploads(call: Call) -> Reply:
    """Answer ListMultipartUploads with all uploads on one page."""
    prefix = call.request.query.get("prefix", "")
    with call.store.lock:
        uploads = sorted(call.store.bucket(call.bucket).uploads.values(), key=lambda u: (u.key, u.initiated))
    described = [
        {"Key": upload.key, "UploadId": upload.id, "Initiated": xml_time(upload.initiated)}
        for upload in uploads
        if upload.key.startswith(prefix)
    ]
    fields: dict[str, XmlValue] = {"Bucket": call.bucket, "IsTruncated": False, "Upload": described}
    return xml_reply("ListMultipartUploadsResult", fields)
