"""`LabS3`: starts the lab S3 as a process and controls it; for tests and the local comparison."""

from __future__ import annotations

import http.client
import json
import os
import select
import ssl
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, Self
from urllib.parse import urlsplit

if TYPE_CHECKING:
    from collections.abc import Iterable
    from types import TracebackType

READY_SECONDS = 30.0
CLOSE_SECONDS = 10.0
PACKAGE_ROOT = Path(__file__).parents[3]


class LabS3Error(RuntimeError):
    """The server did not start, or refused a control command."""


class ObjectChecksum(NamedTuple):
    """What the server knows of an object, whether or not it kept the content."""

    size: int
    crc64nvme: str  # base64, as in S3's headers
    etag: str
    headers: dict[str, str]  # Content-Type and the like, x-amz-meta-*


class LabS3:
    """A running lab S3; a context manager. Nothing of it is left when the process that started it is gone."""

    def __init__(
        self, *, tls: bool = False, model: str = "off", seed: int = 0, port: int = 0, log_size: int = 100_000
    ) -> None:
        command = [sys.executable, "-m", "asyncstream.lab.s3", "--model", model]
        command += ["--seed", str(seed), "--port", str(port), "--log-size", str(log_size)]
        command += ["--tls"] if tls else []
        search_path = os.pathsep.join(filter(None, [str(PACKAGE_ROOT), os.environ.get("PYTHONPATH")]))
        self._process = subprocess.Popen(  # noqa: S603 -- our own module
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": search_path},
        )
        try:
            ready = self._read_ready()
        except BaseException:
            self.close()
            raise
        self.endpoint_url: str = ready["endpoint_url"]
        self.ca_bundle: str | None = ready["ca_bundle"]
        self._control = urlsplit(ready["control_url"])

    def __enter__(self) -> Self:
        """Return itself: the server runs already."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End the server."""
        self.close()

    @property
    def pid(self) -> int:
        """The server's process."""
        return self._process.pid

    def environment(self) -> dict[str, str]:
        """Return the variables with which any AWS SDK finds this server."""
        variables = {
            "AWS_ENDPOINT_URL_S3": self.endpoint_url,
            "AWS_ACCESS_KEY_ID": "AKIALAB",
            "AWS_SECRET_ACCESS_KEY": "lab",  # nobody checks it
            "AWS_DEFAULT_REGION": "us-east-1",
            "AWS_EC2_METADATA_DISABLED": "true",
        }
        return variables | ({"AWS_CA_BUNDLE": self.ca_bundle} if self.ca_bundle else {})

    def create_bucket(self, name: str, *, keep: bool) -> None:
        """Create a bucket that keeps the content of what is uploaded, or its size and checksum only."""
        self._command("create-bucket", name=name, keep=keep)

    def declare(self, bucket: str, objects: Iterable[tuple[str, int]]) -> None:
        """Let objects of synthetic content exist, given key and size; they take no room."""
        self._command("declare", bucket=bucket, objects=list(objects))

    def declare_many(self, bucket: str, prefix: str, count: int, size: int) -> list[str]:
        """Declare objects of the same size, and return their keys: the prefix and a number."""
        keys = [f"{prefix}{number:06d}" for number in range(count)]
        self.declare(bucket, [(key, size) for key in keys])
        return keys

    def checksums(self, bucket: str, prefix: str = "") -> dict[str, ObjectChecksum]:
        """Return size and checksum of every object: a copy is right if they are those of its source."""
        found = self._command("checksums", bucket=bucket, prefix=prefix)
        return {key: ObjectChecksum(**checksum) for key, checksum in found.items()}

    def set_model(self, model: str, seed: int = 0) -> None:
        """Change the network model, for requests that begin from now on."""
        self._command("model", model=model, seed=seed)

    def stats(self) -> dict[str, Any]:
        """Return the counters: see `Activity.counters`."""
        counters: dict[str, Any] = self._command("stats")
        return counters

    def cpu_seconds(self) -> float:
        """Return the CPU time the server has used since it started."""
        seconds: float = self.stats()["cpu_seconds"]
        return seconds

    def reset_stats(self) -> None:
        """Set the counters to zero and empty the log."""
        self._command("reset-stats")

    def request_log(self) -> list[dict[str, Any]]:
        """Return the last requests, oldest first: see `LoggedRequest`."""
        log: list[dict[str, Any]] = self._command("request-log")
        return log

    def close(self) -> None:
        """End the server and wait until it is gone."""
        process = self._process
        for pipe in (process.stdin, process.stdout):
            if pipe:
                pipe.close()
        try:
            process.wait(CLOSE_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()

    def _read_ready(self) -> dict[str, Any]:
        """Wait for the line that the server prints when it can be used."""
        assert self._process.stdout is not None  # noqa: S101 -- for the type checker: it is a pipe
        descriptor = self._process.stdout.fileno()
        deadline = time.monotonic() + READY_SECONDS
        line = b""
        while not line.endswith(b"\n"):
            if not select.select([descriptor], [], [], max(0.0, deadline - time.monotonic()))[0]:
                raise LabS3Error(f"the lab S3 was not ready within {READY_SECONDS:.0f} s")
            received = os.read(descriptor, 4096)
            if not received:
                raise LabS3Error("the lab S3 ended before it was ready: see its standard error")
            line += received
        ready: dict[str, Any] = json.loads(line)
        return ready

    def _command(self, command: str, /, **arguments: object) -> Any:
        """Run a control command, over a connection of its own: it can be called from any thread."""
        address = self._control.netloc
        connection = (
            http.client.HTTPSConnection(
                address, timeout=60, context=ssl.create_default_context(cafile=self.ca_bundle)
            )
            if self.ca_bundle
            else http.client.HTTPConnection(address, timeout=60)
        )
        try:
            connection.request("POST", self._control.path + command, json.dumps(arguments))
            reply = connection.getresponse()
            document = json.loads(reply.read())
        finally:
            connection.close()
        if reply.status != 200:
            raise LabS3Error(f"{command}: {document['error']}")
        return document
