"""`Listener`: a socket on which tests send replies that no server would give; functions to read requests."""

import re
import socket
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress

from asyncstream.engines.closing import Closing

# A guard: nothing here waits that long.
SECONDS = 60.0
CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"


class Listener(Closing):
    """Serves each connection on a thread of its own, until closed."""

    def __init__(self) -> None:
        self.connections = 0
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._socket.getsockname()[1]
        self._threads: list[threading.Thread] = []
        self._accepting = threading.Thread(target=self._accept)
        self._accepting.start()

    def close(self) -> None:
        with suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)  # wakes accept
        self._accepting.join()
        self._socket.close()
        for thread in self._threads:
            thread.join()

    def serve(self, connection: socket.socket) -> None:
        """RawReply on one connection."""
        raise NotImplementedError

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                connection, _ = self._socket.accept()
                self.connections += 1
                connection.settimeout(SECONDS)
                self._threads.append(threading.Thread(target=self._serve, args=(connection,)))
                self._threads[-1].start()

    def _serve(self, connection: socket.socket) -> None:
        with connection, suppress(OSError):
            self.serve(connection)


class Drip:
    """A reply that arrives byte by byte after a first piece, for longer than any client waits.

    Args:
        before: the first piece; it arrives at once.
        filler: the byte that drips.
    """

    PACE = 0.02  # seconds
    MOST = 750

    def __init__(self, before: bytes, filler: bytes = b" ") -> None:
        self._before, self._filler = before, filler
        self.dripped = 0

    def __call__(self, head: str) -> "Drip":
        return self

    def __iter__(self) -> Iterator[bytes]:
        yield self._before
        self.dripped = 0
        while self.dripped < self.MOST:
            time.sleep(self.PACE)
            yield self._filler
            self.dripped += 1

    @property
    def was_cut_off(self) -> bool:
        """Whether the reply began to drip, and the client hung up before its end."""
        return 0 < self.dripped < self.MOST


# The bytes of a reply, at once or piece by piece.
RawReply = bytes | Iterable[bytes]


class Scripted(Listener):
    """ReplyScript each request with the bytes that a function returns, and closes the connection.

    Args:
        reply_to: returns the reply to a request, given its first line and headers in lower case.
        interim: the reply to a request that waits for 100 Continue.
    """

    def __init__(self, reply_to: Callable[[str], RawReply], interim: RawReply = CONTINUE) -> None:
        self._reply_to = reply_to
        self._interim = interim
        self.asked: list[str] = []
        super().__init__()
        self.url = f"http://127.0.0.1:{self.port}"

    def serve(self, connection: socket.socket) -> None:
        head = read_request(connection, self._interim)
        if head:
            self.asked.append(head.partition(" http/")[0])
            say(connection, self._reply_to(head))


def say(connection: socket.socket, reply: RawReply) -> None:
    """Send a reply, whole or piece by piece."""
    for piece in (reply,) if isinstance(reply, bytes) else reply:
        connection.sendall(piece)


def read_request(connection: socket.socket, interim: RawReply = CONTINUE) -> str:
    """Return a request's head in lower case, after reading its body; empty if the connection ended first.

    Closing a connection with unread bytes would reset the reply.
    """
    head, _, body = read_head(connection).partition(b"\r\n\r\n")
    text = head.decode("latin-1").lower()
    if "expect: 100-continue" in text:
        say(connection, interim)
        if not (isinstance(interim, bytes) and interim.endswith(CONTINUE)):
            return ""  # the connection closes after it
    sized = re.search(r"content-length: (\d+)", text)
    left = int(sized[1]) - len(body) if sized else 0
    while left > 0 and (received := connection.recv(65_536)):
        left -= len(received)
    return text


def read_head(connection: socket.socket) -> bytes:
    """Return a request's first line and headers, and any bytes that came with them."""
    head = b""
    while b"\r\n\r\n" not in head and (received := connection.recv(65_536)):
        head += received
    return head
