"""Read the pages of S3's listings: objects, folders, uploads. Does no I/O.

`listing_xml.py` parses only the fields of ListObjectsV2 that are read here.
"""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from asyncstream.locations import S3Object, S3Prefix
from asyncstream.objects import ARCHIVED_CLASSES, ListedObject, OpenUpload
from asyncstream.s3 import replies
from asyncstream.s3.dates import parse_date
from asyncstream.s3.requests import UploadMarker


def objects(reply: Mapping[str, Any], prefix: S3Prefix) -> tuple[list[ListedObject], str | None]:
    """Return the objects of one page, and the token of the next page; None at the end.

    Raises:
        S3Error: the reply says neither that the listing has ended nor where it continues.
    """
    what = f"the listing of {prefix}"
    truncated = replies.required_element(reply, "IsTruncated", what)
    found = []
    for row in reply.get("Contents", ()):
        key, size, etag = (replies.required(row, name, what) for name in ("Key", "Size", "ETag"))
        modified, archived = parse_date(row.get("LastModified")), row.get("StorageClass") in ARCHIVED_CLASSES
        found.append(ListedObject(key, int(size), replies.quoted(etag), modified, archived=archived))
    return found, str(replies.required_element(reply, "NextContinuationToken", what)) if truncated else None


def folders(reply: Mapping[str, Any], prefix: S3Prefix) -> list[str]:
    """Return the common prefixes of one page.

    Raises:
        S3Error: the reply is not a listing.
    """
    what = f"the folders under {prefix}"
    replies.required_element(reply, "IsTruncated", what)
    return [str(replies.required(row, "Prefix", what)) for row in reply.get("CommonPrefixes", ())]


def uploads(reply: Mapping[str, Any], prefix: S3Prefix) -> tuple[list[OpenUpload], UploadMarker | None]:
    """Return the uploads of one page, and the marker of the next page; None at the end.

    Raises:
        S3Error: the reply says neither that the listing has ended nor where it continues.
    """
    what = f"the uploads under {prefix}"
    found = []
    for row in reply.get("Uploads", ()):
        key, upload, initiated = (
            replies.required(row, name, what) for name in ("Key", "UploadId", "Initiated")
        )
        found.append(OpenUpload(S3Object(prefix.bucket, key), upload, datetime.fromisoformat(initiated)))
    truncated = reply.get("IsTruncated")
    if truncated is None:  # rclone omits a false one: the bucket's name shows that this is a listing
        replies.required_element(reply, "Bucket", what)
    if not truncated:
        return found, None
    return found, (
        replies.required_element(reply, "NextKeyMarker", what),
        replies.required_element(reply, "NextUploadIdMarker", what),
    )
