"""Receives segment documents as X-Ray's daemon does, and forwards them to an X-Ray API.

A datagram has a line of JSON with the format, and a document (X-Ray developer guide, "Sending trace data to
X-Ray", "X-Ray daemon").
"""

import json
import os
import re
import socket
import time
from pathlib import Path
from queue import Empty, Queue
from threading import Thread
from typing import Any

from msgspec import Struct

# UDP silently drops datagrams that do not fit the buffer.
RECEIVE_BUFFER = 4 << 20
SO_RCVBUFFORCE = 33  # asm-generic/socket.h; exceeds net.core.rmem_max, only for root
LARGEST_DATAGRAM = 65_536
LARGEST_DOCUMENT = 64 * 1024  # X-Ray's limit
A_CALL = 50  # the real daemon's batch size
SETTLE_SECONDS = 60.0
# The prefix of a datagram that the receiver sends to itself. When it is read, all earlier datagrams have been
# read.
MARK = b"asyncstream "


class Counts(Struct, frozen=True, kw_only=True):
    """Counts since the start.

    Attributes:
        received: datagrams with a document.
        rejected: the number of datagrams that are not documents.
        forwarded: documents that the API accepted.
        unprocessed: documents that the API refused.
        dropped: datagrams that the kernel dropped because they arrived too fast.
        bytes: total bytes of documents.
        largest: bytes of the largest document.
    """

    received: int
    rejected: int
    forwarded: int
    unprocessed: int
    dropped: int
    bytes: int
    largest: int


class Receiver:
    """The socket and two threads. One only reads, so that the kernel drops nothing. The other forwards.

    Args:
        api: a boto3 client of the X-Ray API.
    """

    def __init__(self, api: Any) -> None:
        self._api = api
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        try:
            self._socket.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, RECEIVE_BUFFER)
        except PermissionError:
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BUFFER)
        self._socket.bind(("127.0.0.1", 0))
        self.port: int = self._socket.getsockname()[1]
        self._documents: Queue[str] = Queue()
        self._received = self._rejected = self._forwarded = self._unprocessed = self._bytes = 0
        self._largest = 0
        self._mark = b""
        for work in (self._receive, self._forward):
            Thread(target=work, daemon=True).start()

    def counts(self) -> Counts:
        """Return the counts so far."""
        return Counts(
            received=self._received,
            rejected=self._rejected,
            forwarded=self._forwarded,
            unprocessed=self._unprocessed,
            dropped=_dropped(self.port),
            bytes=self._bytes,
            largest=self._largest,
        )

    def settle(self) -> Counts:
        """Wait until the API has all documents that have arrived, and return the counts.

        Raises:
            TimeoutError: the API is too slow or does not answer.
        """
        end = time.monotonic() + SETTLE_SECONDS
        mark = MARK + os.urandom(8)
        while self._mark != mark or self._documents.unfinished_tasks:
            if time.monotonic() > end:
                left = self._documents.unfinished_tasks
                raise TimeoutError(f"{left} documents are not with the API after {SETTLE_SECONDS:.0f} s")
            if self._mark != mark:  # queued behind all waiting datagrams; repeated, as the kernel may drop it
                self._socket.sendto(mark, self._socket.getsockname())
            time.sleep(0.005)  # polls, because the mark may be lost
        return self.counts()

    def _receive(self) -> None:
        while True:
            datagram = self._socket.recv(LARGEST_DATAGRAM)
            if datagram.startswith(MARK):
                self._mark = datagram
                continue
            document = document_in(datagram)
            if document is None:
                self._rejected += 1
                continue
            self._documents.put(document)
            size = len(document.encode())
            self._bytes += size
            self._largest = max(self._largest, size)
            self._received += 1

    def _forward(self) -> None:
        while True:
            batch = [self._documents.get()]
            while len(batch) < A_CALL and (more := self._next_waiting()) is not None:
                batch.append(more)
            reply = self._api.put_trace_segments(TraceSegmentDocuments=batch)
            refused = len(reply.get("UnprocessedTraceSegments", ()))
            self._unprocessed += refused
            self._forwarded += len(batch) - refused
            for _ in batch:
                self._documents.task_done()

    def _next_waiting(self) -> str | None:
        try:
            return self._documents.get_nowait()
        except Empty:
            return None


def document_in(datagram: bytes) -> str | None:
    """Return the document in a datagram, or None if it is malformed or larger than X-Ray's limit."""
    header, _, document = datagram.partition(b"\n")
    try:
        format_ = json.loads(header)
        fields = json.loads(document)
    except ValueError:
        return None
    if format_ != {"format": "json", "version": 1} or not isinstance(fields, dict):
        return None
    return None if len(document) > LARGEST_DOCUMENT else document.decode()


def _dropped(port: int) -> int:
    """Return the kernel's count of dropped datagrams for this socket, the last column of its table."""
    table = Path("/proc/net/udp").read_text()
    found = re.search(rf"^\s*\d+: \w{{8}}:{port:04X} .* (\d+)\s*$", table, re.MULTILINE)
    return int(found[1]) if found else 0
