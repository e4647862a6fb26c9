"""One client's connection on its own thread: reads requests and sends replies, one after the other."""

from __future__ import annotations

import itertools
import logging
import mmap
import os
import socket
import ssl
import struct
import time
from email.utils import formatdate
from typing import TYPE_CHECKING

from asyncstream.lab.s3 import control
from asyncstream.lab.s3.activity import LoggedRequest
from asyncstream.lab.s3.body import Body
from asyncstream.lab.s3.faults import Target
from asyncstream.lab.s3.http import MalformedRequestError, Request, parse_request, reply_head
from asyncstream.lab.s3.injection import apply_fault
from asyncstream.lab.s3.lab_replies import Reply, S3Error
from asyncstream.lab.s3.model import QUANTUM
from asyncstream.lab.s3.operations import Call
from asyncstream.lab.s3.routing import address, check_access, find_operation

if TYPE_CHECKING:
    from asyncstream.lab.s3.content import Content
    from asyncstream.lab.s3.model import Pace
    from asyncstream.lab.s3.state import State

BUFFER_SIZE = 512 * 1024
LONGEST_HEAD = 64 * 1024
STALL_SECONDS = 20  # S3 ends an upload that pauses for this long

logger = logging.getLogger(__name__)
_request_ids = itertools.count(1)


class Connection:
    """A connection and its buffer. The socket blocks, and its receive timeout raises `TimeoutError`."""

    def __init__(self, state: State, connected: socket.socket) -> None:
        self._state = state
        self._socket = connected
        self._memory = mmap.mmap(-1, BUFFER_SIZE)  # its pages use no memory until they are written
        self._buffer = memoryview(self._memory)
        self._counted = False  # connections with only control requests are not counted
        self._set_receive_timeout(STALL_SECONDS)

    def serve(self) -> None:
        """Answer requests until either side closes the connection."""
        try:
            while self._serve_request():
                continue
        except OSError as error:  # clients may break connections at any time
            logger.debug("connection ended: %r", error)
        finally:
            if self._counted:
                self._state.activity.connection_closed()

    def _serve_request(self) -> bool:
        """Answer one request, and return whether another one may follow."""
        try:
            head_length, filled = self._read_head()
            if not filled:
                return False
            request = parse_request(bytes(self._buffer[:head_length]))
            slowness = self._state.network.slowness(request)
            inbound = self._state.network.inbound(slowness)
            first = self._buffer[head_length:filled]
            body = Body(request, first, self._receive, self._send_continue, inbound)
            if request.path.startswith(control.PREFIX):
                return self._serve_control(request, body)
            return self._serve_s3(request, body, slowness)
        except MalformedRequestError as error:
            self._send_head(S3Error("InvalidRequest", str(error)).reply("", _request_id()), keep_alive=False)
            self._drain()
            return False

    def _serve_control(self, request: Request, body: Body) -> bool:
        reply = control.answer(self._state, request.path, body)
        keep_alive = request.keep_alive and body.finished
        self._send_head(reply, keep_alive=keep_alive)
        return keep_alive

    def _serve_s3(self, request: Request, body: Body, slowness: float) -> bool:
        if not self._counted:
            self._state.activity.connection_opened()
            self._state.connections.add(self._socket)
            self._counted = True
        log = LoggedRequest(
            request.method, request.headers.get("range", ""), request.query.get("partNumber", "")
        )
        try:
            reply = self._answer(request, body, log)
            log.bytes_in = body.received
            self._state.network.wait_for_first_byte(slowness)
            keep_alive = request.keep_alive and body.finished
            self._send(reply, log, self._state.network.outbound(slowness), keep_alive=keep_alive)
        finally:
            self._state.activity.request_ended(log)
        if not body.finished:
            self._drain()
        return keep_alive

    def _answer(self, request: Request, body: Body, log: LoggedRequest) -> Reply:
        """Run a request's operation, with a fault if a rule applies, and return its reply."""
        try:
            log.bucket, log.key = address(request.path)
            operation = find_operation(request, log.bucket, log.key)
            log.operation = operation.name
            self._state.activity.request_started(log)
            check_access(request)
            call = Call(self._state.store, request, body, log.bucket, log.key)
            if plan := self._state.faults:
                target = Target(log.operation, log.bucket, log.key, log.part_number, log.range)
                if fault := plan.choose(target):
                    return apply_fault(fault, operation.run, call, self._socket)
            return operation.run(call)
        except S3Error as error:
            return error.reply(request.path, _request_id())
        except TimeoutError:
            message = f"Nothing was read from your connection for {STALL_SECONDS} s"
            return S3Error("RequestTimeout", message).reply(request.path, _request_id())

    def _send(self, reply: Reply, log: LoggedRequest, pace: Pace, *, keep_alive: bool) -> None:
        """Send a reply. Count it before its end is sent, so that clients find it in the counts after that."""
        log.status = reply.status
        with_body = log.method != "HEAD"
        if with_body and reply.content and reply.length:
            self._send_head(reply, keep_alive=keep_alive)
            self._send_content(reply, reply.content, log, pace)
            return
        log.bytes_out = len(reply.body) if with_body else 0
        self._state.activity.request_ended(log)
        self._send_head(reply, keep_alive=keep_alive, with_body=with_body)

    def _send_head(self, reply: Reply, *, keep_alive: bool, with_body: bool = True) -> None:
        """Send the head, together with the body if it is in memory."""
        headers = {"x-amz-request-id": _request_id(), "Date": formatdate(usegmt=True), **reply.headers}
        if reply.status not in (204, 304):
            headers["Content-Length"] = str(reply.length)
        headers["Connection"] = "keep-alive" if keep_alive else "close"
        self._socket.sendall(reply_head(reply.status, headers) + (reply.body if with_body else b""))

    def _send_content(self, reply: Reply, content: Content, log: LoggedRequest, pace: Pace) -> None:
        left = reply.length
        for part in content.slices(reply.start, reply.stop):
            position, end = part.offset, part.offset + part.length
            while position < end:
                size = min(end - position, pace.quantum, max(left - QUANTUM, QUANTUM))
                pace.wait(size)
                if left <= QUANTUM and left == end - position:  # a fault may occur between slices
                    log.bytes_out = reply.length
                    self._state.activity.request_ended(log)
                sent = self._send_file(part.descriptor, position, size)
                if not sent:
                    raise ConnectionError("a file is shorter than the object it holds")
                position += sent
                left -= sent
                log.bytes_out = reply.length - left

    def _send_file(self, descriptor: int, offset: int, size: int) -> int:
        if not isinstance(self._socket, ssl.SSLSocket):
            return os.sendfile(self._socket.fileno(), descriptor, offset, size)
        length = os.preadv(descriptor, [self._buffer[:size]], offset)
        self._socket.sendall(self._buffer[:length])
        return length

    def _send_continue(self) -> None:
        self._socket.sendall(b"HTTP/1.1 100 Continue\r\n\r\n")

    def _read_head(self) -> tuple[int, int]:
        """Read a whole head, and return its length and the bytes read: zeros at the end of the connection."""
        filled = 0
        while (end := self._memory.find(b"\r\n\r\n", 0, filled)) < 0:
            if filled == LONGEST_HEAD:
                raise MalformedRequestError("the request's head is too long")
            try:
                filled += len(self._receive(LONGEST_HEAD - filled, filled))
            except ConnectionResetError:
                return 0, 0
            except TimeoutError:
                if filled:
                    raise
                # An idle connection stays open.
        return end + 4, filled

    def _receive(self, size: int, offset: int = 0) -> memoryview:
        """Receive up to `size` bytes, and return a view of the buffer that is valid until the next call."""
        view = self._buffer[offset : min(offset + size, BUFFER_SIZE)]
        try:
            received = self._socket.recv_into(view)
        except (BlockingIOError, ssl.SSLWantReadError):
            raise TimeoutError("nothing arrived") from None
        if not received:
            raise ConnectionResetError("the client closed the connection")
        return view[:received]

    def _drain(self) -> None:
        """Let the client read the reply. A close with unread bytes would reset the connection before that."""
        self._socket.shutdown(socket.SHUT_WR)
        deadline = time.monotonic() + STALL_SECONDS
        while time.monotonic() < deadline:
            self._receive(BUFFER_SIZE)  # raises OSError when the client closes

    def _set_receive_timeout(self, seconds: int) -> None:
        # Not settimeout(), which makes the socket non-blocking, and sendfile needs a blocking one.
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, struct.pack("ll", seconds, 0))


def _request_id() -> str:
    return f"{next(_request_ids):016X}"
