"""`LesserS3`: another S3 server behind a filter that takes one part of S3 away from it: a quirk."""

import re
import socket
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from .listener import CONTINUE, SECONDS, Listener, read_head
from .odd_s3 import reply

NOT_IMPLEMENTED = reply("501 Not Implemented", b"<Error><Code>NotImplemented</Code></Error>")
INVALID_ARGUMENT = reply("400 Bad Request", b"<Error><Code>InvalidArgument</Code></Error>")
LOCKED = reply(
    "400 Bad Request",
    b"<Error><Code>InvalidRequest</Code><Message>Content-MD5 OR x-amz-checksum- HTTP header is required for "
    b"Put Object requests with Object Lock parameters</Message></Error>",
)
UNEVEN = reply("400 Bad Request", b"<Error><Code>InvalidPart</Code></Error>")

# Returns the refusal of a request, given its head in lower case; None if the server behind answers it.
Refuse = Callable[[str], bytes | None]


def refuse_none(head: str) -> None:
    """Refuse no request."""


def refusing(pattern: str, refusal: bytes = NOT_IMPLEMENTED) -> Callable[[], Refuse]:
    """Refuse the requests whose head has a match of the pattern."""
    return lambda: lambda head: refusal if re.search(pattern, head, re.DOTALL) else None


def wants_even_parts() -> Refuse:
    """Refuse to complete an upload whose parts, without the last one, differ in size, as R2 does."""
    uploads: dict[str, dict[int, str]] = {}

    def refuse(head: str) -> bytes | None:
        upload = re.search(r"uploadid=([^& ]+)", head)
        number, length = (
            re.search(r"^put .*partnumber=(\d+)", head),
            re.search(r"content-length: (\d+)", head),
        )
        parts = uploads.setdefault(upload[1], {}) if upload else {}
        if number and length:
            parts[int(number[1])] = length[1]
        even = [parts[each] for each in sorted(parts)[:-1]]
        return UNEVEN if head.startswith("post ") and len(set(even)) > 1 else None

    return refuse


@dataclass(frozen=True)
class Quirk:
    """What a server lacks.

    Attributes:
        refuse: makes the function that refuses requests; one for each server, as it may remember.
        ignores: for each method in lower case, the headers of requests that the server does not look at.
        rewrites: patterns in the replies to requests whose head has a match of the first pattern, and what
            stands there instead.
        interim: the replies to a request that expects 100 Continue.
    """

    refuse: Callable[[], Refuse] = lambda: refuse_none
    ignores: Mapping[str, Sequence[str]] = field(default_factory=dict)
    rewrites: Sequence[tuple[str, bytes, bytes]] = ()
    interim: bytes = CONTINUE


class LesserS3(Listener):
    """Forwards each request to another server, as the quirk allows. It closes connections after a reply.

    Args:
        behind: the URL of the other server.
        quirk: what this one lacks.

    Attributes:
        struck: the number of requests that the quirk changed or refused.
    """

    def __init__(self, behind: str, quirk: Quirk) -> None:
        self._behind = urlsplit(behind)
        self._quirk = quirk
        self._refuse = quirk.refuse()
        self.struck = 0
        super().__init__()
        self.url = f"http://127.0.0.1:{self.port}"

    def serve(self, connection: socket.socket) -> None:
        """Answer one request."""
        head, _, body = read_head(connection).partition(b"\r\n\r\n")
        text = head.decode("latin-1").lower() + "\r\n"
        sized = re.search(r"content-length: (\d+)", text)
        left = int(sized[1]) if sized else 0
        expects = "\r\nexpect: 100-continue" in text
        refusal = self._refuse(text)
        if refusal is not None:
            self.struck += 1
            # A client that waits for 100 Continue sends no body. Unread bytes would reset the reply.
            while not expects and left > len(body) and (received := connection.recv(65_536)):
                body += received
            connection.sendall(
                refusal.partition(b"\r\n\r\n")[0] + b"\r\n\r\n" if text[:5] == "head " else refusal
            )
            return
        if expects:
            self.struck += self._quirk.interim != CONTINUE
            connection.sendall(self._quirk.interim)
            if not self._quirk.interim.endswith(CONTINUE):
                return
        address = (self._behind.hostname or "", self._behind.port or 80)
        with socket.create_connection(address, SECONDS) as behind:
            behind.sendall(self._forwarded(head) + body)
            left -= len(body)
            while left > 0 and (received := connection.recv(min(left, 262_144))):
                behind.sendall(received)
                left -= len(received)
            if left > 0:  # the client has hung up: the other server must not wait for the rest
                return
            answer = b"".join(iter(lambda: behind.recv(262_144), b""))
        connection.sendall(self._rewritten(text, answer))

    def _forwarded(self, head: bytes) -> bytes:
        """Return the head that the other server receives."""
        request, *lines = head.split(b"\r\n")
        ignored = self._quirk.ignores.get(request.partition(b" ")[0].decode().lower(), ())
        kept = []
        for line in lines:
            name = line.partition(b":")[0].decode("latin-1").lower()
            self.struck += name in ignored
            if name not in {"connection", "expect", *ignored}:
                kept.append(line)
        return b"\r\n".join([request, *kept, b"Connection: close", b"", b""])

    def _rewritten(self, request: str, answer: bytes) -> bytes:
        """Return the reply that the client receives."""
        head, _, body = answer.partition(b"\r\n\r\n")
        head += b"\r\n"
        for asked, pattern, instead in self._quirk.rewrites:
            if not re.search(asked, request):
                continue
            head, in_head = re.subn(pattern, instead, head)
            in_body = 0
            if b"<?xml" in body[:5]:
                body, in_body = re.subn(pattern, instead, body)
                head = re.sub(rb"(?i)content-length: \d+", b"Content-Length: %d" % len(body), head)
            self.struck += bool(in_head or in_body)
        return head + b"\r\n" + body
