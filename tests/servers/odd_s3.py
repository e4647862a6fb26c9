"""`OddS3`: an S3 that answers from lists, for replies that no server would give."""

import re
from collections.abc import Callable, Sequence
from typing import Any

from asyncstream.units import MiB

from .listener import RawReply

PART = 5 * MiB
OK = "200 OK"

# Replies to successive requests of one kind: each is bytes, or a function of the request's head.
ReplyScript = Sequence[RawReply | Callable[[str], RawReply]]


def reply(status: str, body: bytes = b"", length: int | None = None, **headers: str) -> bytes:
    """Return a whole reply; `length` is the length of a body that HEAD leaves out."""
    fields = {name.replace("_", "-"): value for name, value in headers.items()}
    fields["Connection"] = "close"  # otherwise a client may send its next request over it
    fields["Content-Length"] = str(len(body) if length is None else length)
    lines = "".join(f"{name}: {value}\r\n" for name, value in fields.items())
    return f"HTTP/1.1 {status}\r\n{lines}\r\n".encode() + body


def part(start: int, stop: int, size: int, etag: str = '"e"') -> bytes:
    """Return a GET's reply with a range of an object."""
    return reply(
        "206 Partial Content",
        bytes(stop - start),
        ETag=etag,
        Content_Range=f"bytes {start}-{stop - 1}/{size}",
    )


def honest(size: int) -> Callable[[str], bytes]:
    """Return a function that answers a GET of an object of that size with the requested bytes."""

    def answer(head: str) -> bytes:
        asked = re.search(r"range: bytes=(\d+)-(\d+)", head)
        if asked is None:
            return reply(OK, bytes(size), ETag='"e"')
        return part(int(asked[1]), min(int(asked[2]) + 1, size), size)

    return answer


WRITTEN = reply(OK, ETag='"w"')
CREATED = reply(OK, b"<InitiateMultipartUploadResult><UploadId>u</UploadId></InitiateMultipartUploadResult>")
COMPLETED = reply(OK, b'<CompleteMultipartUploadResult><ETag>"w"</ETag></CompleteMultipartUploadResult>')
NOT_FOUND = reply("404 Not Found")
NO_UPLOADS = reply(
    OK, b"<ListMultipartUploadsResult><IsTruncated>false</IsTruncated></ListMultipartUploadsResult>"
)
STILL_THERE = reply(OK, b"<R><UploadId>u</UploadId><IsTruncated>false</IsTruncated></R>")
GONE = reply("404 Not Found", b"<Error><Code>NoSuchUpload</Code></Error>")
LISTED = (
    b"<ListBucketResult><IsTruncated>%s</IsTruncated>%s"
    b"<Contents><Key>%s</Key><Size>%d</Size><ETag>&quot;e&quot;</ETag></Contents></ListBucketResult>"
)
TOKEN = b"<NextContinuationToken>t</NextContinuationToken>"


def page(key: bytes, size: int = 5, truncated: bytes = b"true", token: bytes = TOKEN) -> bytes:
    return reply(OK, LISTED % (truncated, token, key, size))


class OddS3:
    """ReplyScript each kind of request from a list; the last answer serves all further requests."""

    def __init__(self, **answers: ReplyScript) -> None:
        usual: dict[str, Any] = {
            "get": [honest(5)],
            "put": [WRITTEN],
            "part": [WRITTEN],
            "create": [CREATED],
            "complete": [COMPLETED],
        }
        self._answers: dict[str, list[RawReply | Callable[[str], RawReply]]] = {
            kind: list(each)
            for kind, each in {
                **usual,
                "head": [NOT_FOUND],
                "uploads": [NO_UPLOADS],
                "parts": [STILL_THERE],
                **answers,
            }.items()
        }
        self.kinds: list[str] = []

    def __call__(self, head: str) -> RawReply:
        kind = self._kind(head)
        self.kinds.append(kind)
        if kind == "abort":
            return reply("204 No Content")
        answers = self._answers[kind]
        answer = answers.pop(0) if len(answers) > 1 else answers[0]
        return answer(head) if callable(answer) else answer

    @staticmethod
    def _kind(head: str) -> str:
        method, target = head.split(" ", 2)[:2]
        if method == "get":
            kinds = {"list-type": "list", "?uploads": "uploads", "uploadid": "parts", "?tagging": "tags"}
            return next((kind for mark, kind in kinds.items() if mark in target), "get")
        if method == "post":
            return "create" if "?uploads" in target else "complete"
        if method == "put":
            return "part" if "partnumber" in target else "put"
        return {"delete": "abort"}.get(method, method)
