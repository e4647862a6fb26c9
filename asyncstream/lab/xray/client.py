"""`XRayReceiver`: starts X-Ray's daemon and API as a process."""

import subprocess
import threading
from typing import Any

import boto3
import msgspec

from asyncstream.lab.server_process import LabError, ServerProcess
from asyncstream.lab.xray.receiver import SETTLE_SECONDS, Counts


class XRayReceiver(ServerProcess):
    """A running daemon with an API; a context manager.

    Attributes:
        daemon_address: `host:port` of the daemon.
        endpoint_url: URL of the X-Ray API.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        # moto's server prints messages on standard error.
        super().__init__("asyncstream.lab.xray", stderr=subprocess.DEVNULL)
        self.endpoint_url: str = self.ready["endpoint_url"]
        self.daemon_address: str = self.ready["daemon_address"]

    def environment(self) -> dict[str, str]:
        """Return the variable by which the X-Ray SDK, and so asyncstream, finds the daemon."""
        return {"AWS_XRAY_DAEMON_ADDRESS": self.daemon_address}

    def client(self) -> Any:
        """Return a boto3 client for the API."""
        return boto3.client(
            "xray",
            endpoint_url=self.endpoint_url,
            region_name="us-east-1",
            aws_access_key_id="lab",
            aws_secret_access_key="lab",  # noqa: S106 - the server does not check it
        )

    def counts(self) -> Counts:
        """Return the counts so far."""
        return self._ask("counts")

    def settle(self) -> Counts:
        """Wait until the API has all documents that have arrived, and return the counts.

        Raises:
            LabError: this took too long.
        """
        return self._ask("settle")

    def _ask(self, command: str) -> Counts:
        with self._lock:
            self.write(command.encode())
            answer = self.next_line(2 * SETTLE_SECONDS)
        reply = msgspec.json.decode(answer)
        if "error" in reply:
            raise LabError(reply["error"])
        return msgspec.convert(reply, Counts)
