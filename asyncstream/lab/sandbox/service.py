"""The part of Lambda's API that boto3 needs to invoke and configure functions.

It has Invoke, GetFunction, GetFunctionConfiguration and UpdateFunctionConfiguration (Lambda API reference).
"""

import base64
import json
import platform
import re
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any, Protocol
from urllib.parse import unquote, urlsplit

from msgspec import Struct

from asyncstream.deadline import LONGEST_INVOCATION
from asyncstream.lab.sandbox.function import Function
from asyncstream.lab.sandbox.log import TAIL_BYTES

# Limit for request and response of a synchronous invocation (Lambda quotas).
MAX_PAYLOAD = 6 * 2**20
PATH = re.compile(r"/2015-03-31/functions/([^/]+)(/invocations|/configuration|)")


class Refused(Exception):
    """A request that Lambda would refuse."""

    def __init__(self, status: int, kind: str, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.kind = kind


class Invocation(Struct, frozen=True, kw_only=True):
    """The result of an invocation. `log` is the whole log."""

    request_id: str
    payload: bytes
    failed: bool
    log: str


class Functions(Protocol):
    """The functions behind the API."""

    def function(self, name: str) -> Function | None:
        """Return the function with its current settings."""

    def is_updating(self, name: str) -> bool:
        """Return whether the last change of a function is still in progress."""

    def configure(self, name: str, **changes: Any) -> Function:
        """Change a function's settings."""

    def invoke(self, name: str, payload: bytes, trace_header: str | None) -> Invocation:
        """Run a function once."""


class LambdaService:
    """The server. Pass its `endpoint_url` to boto3."""

    def __init__(self, functions: Functions) -> None:
        self._server = _Server(("127.0.0.1", 0), _Handler)
        self._server.functions = functions
        self.endpoint_url = f"http://127.0.0.1:{self._server.server_address[1]}"
        self._thread = Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Stop the server."""
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    functions: Functions

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Ignore the error, because the caller has closed the connection."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    wbufsize = -1
    server: _Server

    def do_GET(self) -> None:
        """Answer GetFunction and GetFunctionConfiguration."""
        self._answer("GET")

    def do_POST(self) -> None:
        """Answer Invoke."""
        self._answer("POST")

    def do_PUT(self) -> None:
        """Answer UpdateFunctionConfiguration."""
        self._answer("PUT")

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - its name
        """Do not log requests."""

    def _answer(self, method: str) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        try:
            match = PATH.fullmatch(unquote(urlsplit(self.path).path))
            if match is None:
                raise Refused(404, "UnknownOperationException", f"{method} {self.path} is not served here")
            function = self._function(match[1])
            if (method, match[2]) == ("POST", "/invocations"):
                self._invoke(function, body)
            elif (method, match[2]) == ("PUT", "/configuration"):
                self._configure(function, body)
            elif (method, match[2]) == ("GET", "/configuration"):
                self._reply_json(200, self._configuration(function))
            elif (method, match[2]) == ("GET", ""):
                self._reply_json(200, {"Configuration": self._configuration(function)})
            else:
                raise Refused(404, "UnknownOperationException", f"{method} {self.path} is not served here")
        except Refused as error:
            fields = {"Type": "User", "Message": str(error), "message": str(error)}
            self._reply(error.status, json.dumps(fields).encode(), {"x-amzn-ErrorType": error.kind})

    def _function(self, name: str) -> Function:
        function = self.server.functions.function(name.rpartition(":")[2])
        if function is None:
            raise Refused(404, "ResourceNotFoundException", f"Function not found: {name}")
        return function

    def _configure(self, function: Function, body: bytes) -> None:
        if self.server.functions.is_updating(function.name):
            message = (
                "The operation cannot be performed at this time. An update is in progress for resource: "
            )
            raise Refused(409, "ResourceConflictException", message + function.arn)
        changed = self.server.functions.configure(function.name, **changes(json.loads(body or b"{}")))
        self._reply_json(200, self._configuration(changed))

    def _configuration(self, function: Function) -> dict[str, Any]:
        return configuration(function, updating=self.server.functions.is_updating(function.name))

    def _invoke(self, function: Function, payload: bytes) -> None:
        kind = self.headers.get("X-Amz-Invocation-Type", "RequestResponse")
        if kind != "RequestResponse":
            message = f"InvocationType {kind} is not served here, only RequestResponse"
            raise Refused(400, "InvalidParameterValueException", message)
        if len(payload) > MAX_PAYLOAD:
            message = f"{len(payload)} byte payload is too large for the RequestResponse invocation type"
            raise Refused(413, "RequestTooLargeException", f"{message} (limit {MAX_PAYLOAD} bytes)")
        try:
            json.loads(payload or b"{}")
        except ValueError as error:
            message = f"Could not parse request body into json: {error}"
            raise Refused(400, "InvalidRequestContentException", message) from None
        trace = self.headers.get("X-Amzn-Trace-Id")
        done = self.server.functions.invoke(function.name, payload or b"{}", trace)
        headers = {"X-Amz-Executed-Version": "$LATEST", "x-amzn-RequestId": done.request_id}
        if self.headers.get("X-Amz-Log-Type") == "Tail":
            headers["X-Amz-Log-Result"] = base64.b64encode(done.log.encode()[-TAIL_BYTES:]).decode()
        reply, failed = done.payload, done.failed
        if len(reply) > MAX_PAYLOAD:
            message = f"Response payload size ({len(reply)} bytes) exceeded maximum allowed payload size"
            kind = "Function.ResponseSizeTooLarge"
            problem = {"errorMessage": f"{message} ({MAX_PAYLOAD} bytes).", "errorType": kind}
            reply, failed = json.dumps(problem).encode(), True
        if failed:
            headers["X-Amz-Function-Error"] = "Unhandled"
        self._reply(200, reply, headers)

    def _reply_json(self, status: int, fields: dict[str, Any]) -> None:
        self._reply(status, json.dumps(fields).encode(), {})

    def _reply(self, status: int, body: bytes, headers: dict[str, str]) -> None:
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)


def changes(request: dict[str, Any]) -> dict[str, Any]:
    """Return the fields of a `Function` that an UpdateFunctionConfiguration request changes. Does no I/O.

    Raises:
        Refused: a value is outside Lambda's limits, or the sandbox does not support the change.
    """
    changed: dict[str, Any] = {}
    for name, value in request.items():
        match name:
            case "MemorySize":
                changed["memory_mb"] = _within(name, value, 128, 10_240)
            case "Timeout":
                changed["timeout"] = float(_within(name, value, 1, LONGEST_INVOCATION))
            case "Environment":
                changed["environment"] = value.get("Variables", {})
            case "Handler":
                changed["handler"] = value
            case "TracingConfig":
                changed["tracing"] = value.get("Mode") == "Active"
            case "FunctionName" | "RevisionId":
                continue
            case _:
                raise Refused(400, "InvalidParameterValueException", f"{name} cannot be changed here")
    return changed


def _within(name: str, value: int, least: int, most: int) -> int:
    if least <= value <= most:
        return value
    what = name[0].lower() + name[1:]
    bound = f"greater than or equal to {least}" if value < least else f"less than or equal to {most}"
    message = f"Value '{value}' at '{what}' failed to satisfy constraint: Member must have value {bound}"
    raise Refused(400, "InvalidParameterValueException", message)


def configuration(function: Function, *, updating: bool) -> dict[str, Any]:
    """Return a function in the format of GetFunctionConfiguration. Pure."""
    return {
        "FunctionName": function.name,
        "FunctionArn": function.arn,
        "Handler": function.handler,
        "MemorySize": function.size_mb,
        "Timeout": int(function.timeout),
        "Version": "$LATEST",
        "Environment": {"Variables": dict(function.environment)},
        "TracingConfig": {"Mode": "Active" if function.tracing else "PassThrough"},
        "State": "Active",
        "LastUpdateStatus": "InProgress" if updating else "Successful",
        "PackageType": "Zip",
        "Runtime": f"python{sys.version_info.major}.{sys.version_info.minor}",
        "Architectures": ["arm64" if platform.machine() == "aarch64" else "x86_64"],
        "LoggingConfig": {"LogFormat": "Text", "LogGroup": f"/aws/lambda/{function.name}"},
    }
