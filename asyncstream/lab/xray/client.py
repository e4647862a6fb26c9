"""`XRayReceiver`: starts X-Ray's daemon and API as a process; for tests and the local comparison."""

import os
import select
import subprocess
import sys
import threading
import time
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import boto3
import msgspec

from asyncstream.lab.xray.receiver import SETTLE_SECONDS, Counts

READY_SECONDS = 30.0
CLOSE_SECONDS = 10.0
PACKAGE_ROOT = Path(__file__).parents[3]


class XRayError(RuntimeError):
    """The process did not start, has ended, or does not keep up."""


class _Ready(msgspec.Struct):
    endpoint_url: str
    daemon_address: str


class XRayReceiver:
    """A running daemon with an API; a context manager. Nothing is left of it when its owner is gone.

    Attributes:
        daemon_address: `host:port` that documents are sent to.
        endpoint_url: the X-Ray API.
    """

    def __init__(self) -> None:
        search_path = os.pathsep.join(filter(None, [str(PACKAGE_ROOT), os.environ.get("PYTHONPATH")]))
        self._lock = threading.Lock()
        self._process = subprocess.Popen(
            [sys.executable, "-m", "asyncstream.lab.xray"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,  # moto's server announces itself there
            env={**os.environ, "PYTHONPATH": search_path},
        )
        try:
            ready = msgspec.json.decode(self._line(READY_SECONDS), type=_Ready)
        except BaseException:
            self.close()
            raise
        self.endpoint_url = ready.endpoint_url
        self.daemon_address = ready.daemon_address

    def environment(self) -> dict[str, str]:
        """The variable with which the X-Ray SDK, and so asyncstream, finds the daemon."""
        return {"AWS_XRAY_DAEMON_ADDRESS": self.daemon_address}

    def client(self) -> Any:
        """A boto3 client of the API."""
        return boto3.client(
            "xray",
            endpoint_url=self.endpoint_url,
            region_name="us-east-1",
            aws_access_key_id="lab",
            aws_secret_access_key="lab",  # noqa: S106 - nobody checks it
        )

    def counts(self) -> Counts:
        """What has arrived so far."""
        return self._ask("counts")

    def settle(self) -> Counts:
        """What has arrived, once all of it can be read from the API.

        Raises:
            XRayError: that takes too long.
        """
        return self._ask("settle")

    def close(self) -> None:
        """End the process and wait until it is gone."""
        process = self._process
        for pipe in (process.stdin, process.stdout):
            if pipe:
                pipe.close()
        try:
            process.wait(CLOSE_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()

    def __enter__(self) -> Self:
        """Return itself: documents can be sent already."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End the process."""
        self.close()

    def _ask(self, command: str) -> Counts:
        assert self._process.stdin is not None  # noqa: S101 - for the type checker: it is a pipe
        with self._lock:
            self._process.stdin.write(command.encode() + b"\n")
            self._process.stdin.flush()
            answer = self._line(2 * SETTLE_SECONDS)
        told = msgspec.json.decode(answer)
        if "error" in told:
            raise XRayError(told["error"])
        return msgspec.convert(told, Counts)

    def _line(self, seconds: float) -> bytes:
        """The next line the process prints."""
        assert self._process.stdout is not None  # noqa: S101 - for the type checker: it is a pipe
        descriptor = self._process.stdout.fileno()
        end = time.monotonic() + seconds
        line = b""
        while not line.endswith(b"\n"):
            if not select.select([descriptor], [], [], max(0.0, end - time.monotonic()))[0]:
                raise XRayError(f"the X-Ray receiver said nothing within {seconds:.0f} s")
            received = os.read(descriptor, 4096)
            if not received:
                raise XRayError("the X-Ray receiver has ended: run python -m asyncstream.lab.xray to see why")
            line += received
        return line
