"""ListObjectsV2: selects the keys and common prefixes of a page, and writes S3's XML."""

from __future__ import annotations

from base64 import urlsafe_b64decode, urlsafe_b64encode
from bisect import bisect_left, bisect_right
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import quote

from asyncstream.lab.s3.checksums import checksum_kind
from asyncstream.lab.s3.lab_replies import Reply, S3Error, XmlValue, xml_reply, xml_time
from asyncstream.lab.s3.operations import LONGEST_PAGE, parse_number

if TYPE_CHECKING:
    from collections.abc import Sequence

    from asyncstream.lab.s3.objects import StoredObject
    from asyncstream.lab.s3.operations import Call

LAST_CHARACTER = "\U0010ffff"


class Page(NamedTuple):
    """One page of a listing. The next page, if any, starts after `next_after`."""

    keys: list[str]
    prefixes: list[str]
    next_after: str | None


def list_page(keys: Sequence[str], prefix: str, delimiter: str, after: str, limit: int) -> Page:
    """Return a page from sorted keys: those that start with the prefix and follow `after`."""
    page = Page([], [], None)
    position = max(bisect_left(keys, prefix), bisect_right(keys, after) if after else 0)
    while position < len(keys) and keys[position].startswith(prefix):
        if len(page.keys) + len(page.prefixes) == limit:
            return page._replace(next_after=after) if limit else page
        key = keys[position]
        end = key.find(delimiter, len(prefix)) if delimiter else -1
        if end < 0:
            page.keys.append(key)
            after = key
            position += 1
        else:
            page.prefixes.append(key[: end + len(delimiter)])
            after = page.prefixes[-1] + LAST_CHARACTER
            position = bisect_right(keys, after)
    return page


def list_objects_v2(call: Call) -> Reply:
    """Answer ListObjectsV2."""
    query = call.request.query
    prefix, delimiter, token = (query.get(name, "") for name in ("prefix", "delimiter", "continuation-token"))
    limit = min(parse_number("max-keys", query.get("max-keys", "1000")), LONGEST_PAGE)
    after = _position(token) if token else query.get("start-after", "")
    with call.store.lock:
        bucket = call.store.bucket(call.bucket)
        page = list_page(bucket.sorted_keys(), prefix, delimiter, after, limit)
        objects = [(key, bucket.object(key)) for key in page.keys]

    url_encoded = query.get("encoding-type") == "url"

    def spelled(name: str) -> str:
        return quote(name, safe="/") if url_encoded else name

    listed = {
        "Name": call.bucket,
        "Prefix": spelled(prefix),
        "Delimiter": spelled(delimiter) if delimiter else None,
        "MaxKeys": limit,
        "EncodingType": "url" if url_encoded else None,
        "KeyCount": len(page.keys) + len(page.prefixes),
        "IsTruncated": page.next_after is not None,
        "ContinuationToken": token or None,
        "NextContinuationToken": None if page.next_after is None else _token(page.next_after),
        "StartAfter": spelled(query["start-after"]) if "start-after" in query else None,
        "Contents": [{"Key": spelled(key), **_described(stored)} for key, stored in objects],
        "CommonPrefixes": [{"Prefix": spelled(name)} for name in page.prefixes],
    }
    return xml_reply("ListBucketResult", listed)


def _described(stored: StoredObject) -> dict[str, XmlValue]:
    return {
        "LastModified": xml_time(stored.modified),
        "ETag": stored.etag,
        "ChecksumAlgorithm": " ".join(map(checksum_kind, stored.checksums)) or None,
        "ChecksumType": stored.checksum_type if stored.checksums else None,
        "Size": stored.size,
        "StorageClass": "STANDARD",
    }


def _token(position: str) -> str:
    return urlsafe_b64encode(position.encode()).decode()


def _position(token: str) -> str:
    try:
        return urlsafe_b64decode(token).decode()
    except ValueError:
        raise S3Error("InvalidArgument", "The continuation token provided is incorrect") from None
