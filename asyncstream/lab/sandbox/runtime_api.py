"""Lambda's Runtime API for one environment, from which its process gets events.

See the Lambda developer guide, "Using the Lambda runtime API". Each message of the process goes into a queue,
which the invoking thread reads.
"""

import json
import re
from collections.abc import Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from queue import SimpleQueue
from threading import Thread
from typing import Any

from msgspec import Struct

VERSION = "/2018-06-01/runtime"


class Ready(Struct, frozen=True):
    """The process is ready for an event: it requested the next one."""


class Replied(Struct, frozen=True):
    """The handler returned."""

    payload: bytes


class Raised(Struct, frozen=True):
    """The handler, or its import, raised an exception. `payload` is the runtime client's JSON for it."""

    payload: bytes


class Exited(Struct, frozen=True):
    """The process ended. `status` is that of `subprocess`, negative for a signal."""

    status: int


RuntimeMessage = Ready | Replied | Raised | Exited


class Event(Struct, frozen=True):
    """An event for the process. None instead of an event ends the process."""

    payload: bytes
    headers: Mapping[str, str]


class RuntimeApi:
    """The API's server. It has its own port because `AWS_LAMBDA_RUNTIME_API` has only host and port."""

    def __init__(self) -> None:
        self.messages: SimpleQueue[RuntimeMessage] = SimpleQueue()
        self.events: SimpleQueue[Event | None] = SimpleQueue()
        self._server = _Server(("127.0.0.1", 0), _Handler)
        self._server.api = self
        self.address = f"127.0.0.1:{self._server.server_address[1]}"
        self._thread = Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Stop the server, and end a request that waits for an event."""
        self.events.put(None)
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    api: RuntimeApi

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Ignore the error. If the process was killed during a request, its exit is reported."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True  # Nagle's algorithm costs 43 ms per call
    wbufsize = -1  # one write per reply
    server: _Server

    def do_GET(self) -> None:
        """Wait for the next event, and reply with it."""
        if self.path != f"{VERSION}/invocation/next":
            self._reply(404, b"{}")
            return
        api = self.server.api
        api.messages.put(Ready())
        event = api.events.get()
        if event is None:
            self.close_connection = True
            return
        self._reply(200, event.payload, event.headers)

    def do_POST(self) -> None:
        """Accept a result or an error."""
        body = self._body()
        api = self.server.api
        if re.fullmatch(rf"{VERSION}/(init|invocation/[^/]+)/error", self.path):
            api.messages.put(Raised(body))
        elif re.fullmatch(rf"{VERSION}/invocation/[^/]+/response", self.path):
            api.messages.put(Replied(body))
        else:
            self._reply(404, b"{}")
            return
        self._reply(202, json.dumps({"status": "OK"}).encode())

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - its name
        """Do not log requests."""

    def _body(self) -> bytes:
        if "Content-Length" in self.headers:
            return self.rfile.read(int(self.headers["Content-Length"]))
        body = b""
        while size := int(self.rfile.readline(), 16):  # the runtime client sends large results in chunks
            body += self.rfile.read(size)
            self.rfile.readline()
        self.rfile.readline()
        return body

    def _reply(self, status: int, body: bytes, headers: Mapping[str, str] | None = None) -> None:
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)
