"""Takes segment documents as X-Ray's daemon does, and hands them to an X-Ray API.

A datagram is a line of JSON, which names the format, and a document (X-Ray developer guide, "Sending trace
data to X-Ray", "X-Ray daemon").
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

# UDP drops what the buffer cannot hold, and nobody is told.
RECEIVE_BUFFER = 4 << 20
SO_RCVBUFFORCE = 33  # asm-generic/socket.h; beyond net.core.rmem_max, for root only
LARGEST_DATAGRAM = 65_536
LARGEST_DOCUMENT = 64 * 1024  # X-Ray takes no larger one
A_CALL = 50  # the daemon's own batch
SETTLE_SECONDS = 60.0
# How a datagram of our own to ourselves begins: once it is read, so is all that had arrived before it.
MARK = b"asyncstream "


class Counts(Struct, frozen=True, kw_only=True):
    """What has arrived since the start.

    Attributes:
        received: datagrams with a document in them.
        rejected: other datagrams.
        forwarded: documents that the API has taken.
        unprocessed: documents that it would not take.
        dropped: datagrams that the kernel threw away, as they came too fast.
        bytes: of all documents.
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
    """The socket, and the two threads behind it: one that reads, so that nothing is dropped, and one that
    forwards.

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
        """What has arrived so far."""
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
        """The counts once all that had arrived is with the API.

        Raises:
            TimeoutError: the API is too slow, or does not answer.
        """
        end = time.monotonic() + SETTLE_SECONDS
        mark = MARK + os.urandom(8)
        while self._mark != mark or self._documents.unfinished_tasks:
            if time.monotonic() > end:
                raise TimeoutError(f"{self._documents.unfinished_tasks} documents are not with the API yet")
            if self._mark != mark:  # behind all that is waiting; again, as the kernel may throw one away
                self._socket.sendto(mark, self._socket.getsockname())
            time.sleep(0.005)  # the queue can be waited for, the mark, which may be lost, cannot
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
    """The document that a datagram carries; None if it is malformed or larger than X-Ray takes."""
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
    """What the kernel tells of our socket in its last column."""
    table = Path("/proc/net/udp").read_text()
    found = re.search(rf"^\s*\d+: \w{{8}}:{port:04X} .* (\d+)\s*$", table, re.MULTILINE)
    return int(found[1]) if found else 0
