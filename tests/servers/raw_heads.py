"""Objects written and read with headers as bytes, which no SDK does. The servers check no signatures."""

import socket
from collections import defaultdict
from collections.abc import Mapping
from urllib.parse import urlsplit

from .base import GUARD_SECONDS, Bucket

# moto wants to know who asks.
_UNSIGNED = (
    b"AWS4-HMAC-SHA256 Credential=testing/20260101/us-east-1/s3/aws4_request, SignedHeaders=host, Signature=0"
)


def put_raw(bucket: Bucket, key: str, body: bytes, headers: Mapping[bytes, bytes]) -> None:
    """Write an object with these headers."""
    lines = {**headers, b"Content-Length": str(len(body)).encode()}
    status, _ = _exchange(bucket, "PUT", key, lines, body)
    assert status == 200


def head_raw(bucket: Bucket, key: str) -> dict[bytes, bytes]:
    """Return the headers of an object, by their names in lower case."""
    status, headers = _exchange(bucket, "HEAD", key, {}, b"")
    assert status == 200
    return headers


def _exchange(
    bucket: Bucket, method: str, key: str, headers: Mapping[bytes, bytes], body: bytes
) -> tuple[int, dict[bytes, bytes]]:
    url = urlsplit(bucket.client.meta.endpoint_url)
    lines = [f"{method} /{bucket.name}/{key} HTTP/1.1".encode(), b"Host: " + url.netloc.encode()]
    lines.append(b"Authorization: " + _UNSIGNED)
    lines += [b"%s: %s" % pair for pair in headers.items()]
    request = b"\r\n".join([*lines, b"Connection: close", b"", body])
    reply = bytearray()
    with socket.create_connection((url.hostname or "", url.port or 80), GUARD_SECONDS) as connected:
        connected.sendall(request)
        while b"\r\n\r\n" not in reply and (data := connected.recv(65536)):
            reply += data
    status, *rows = bytes(reply).partition(b"\r\n\r\n")[0].split(b"\r\n")
    found: defaultdict[bytes, bytes] = defaultdict(bytes)
    for row in rows:
        name, _, value = row.partition(b":")
        found[name.lower()] += value.strip()
    return int(status.split(b" ")[1]), dict(found)
