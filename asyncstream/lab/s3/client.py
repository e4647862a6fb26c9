"""`LabS3`: starts the lab S3 as a process and controls it."""

from __future__ import annotations

import http.client
import json
import ssl
from dataclasses import asdict
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import urlsplit

from asyncstream.lab.server_process import LabError, ServerProcess

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from asyncstream.lab.s3.faults import Fault


class ObjectChecksum(NamedTuple):
    """What the server knows of an object, whether or not it kept the content."""

    size: int
    crc64nvme: str  # base64, as in S3's headers
    etag: str
    headers: dict[str, str]  # Content-Type and the like, x-amz-meta-*


class LabS3(ServerProcess):
    """A running lab S3; a context manager.

    Raises:
        LabError: it did not start, or refused a control command.
    """

    def __init__(
        self, *, tls: bool = False, model: str = "off", seed: int = 0, port: int = 0, log_size: int = 100_000
    ) -> None:
        options = ["--model", model, "--seed", str(seed), "--port", str(port), "--log-size", str(log_size)]
        super().__init__("asyncstream.lab.s3", *options, *(["--tls"] if tls else []))
        self.endpoint_url: str = self.ready["endpoint_url"]
        self.ca_bundle: str | None = self.ready["ca_bundle"]
        self._control = urlsplit(self.ready["control_url"])

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

    def create_bucket(self, name: str, *, keep: bool, checksums: bool = True) -> None:
        """Create a bucket that keeps the content of what is uploaded, or its size and checksum only.

        Without `checksums` it behaves as a server that has never heard of them: it tells none, verifies none.
        """
        self._control_command("create-bucket", name=name, keep=keep, checksums=checksums)

    def declare(
        self,
        bucket: str,
        objects: Iterable[tuple[str, int]],
        checksum: str | None = "CRC64NVME",
        part_size: int | None = None,
    ) -> None:
        """Let objects of synthetic content exist, given key and size; they take no room.

        `checksum` is the kind that they came with; None: they are old and have none. Kinds other than
        CRC64NVME are computed by reading through every object. With `part_size` they were uploaded in parts
        of so many bytes, and have a checksum of their parts' checksums.
        """
        arguments = {"objects": list(objects), "checksum": checksum, "part_size": part_size}
        self._control_command("declare", bucket=bucket, **arguments)

    def declare_many(self, bucket: str, prefix: str, count: int, size: int) -> list[str]:
        """Declare objects of the same size, and return their keys: the prefix and a number."""
        keys = [f"{prefix}{number:06d}" for number in range(count)]
        self.declare(bucket, [(key, size) for key in keys])
        return keys

    def checksums(self, bucket: str, prefix: str = "") -> dict[str, ObjectChecksum]:
        """Return size and checksum of every object: a copy is right if they are those of its source."""
        found = self._control_command("checksums", bucket=bucket, prefix=prefix)
        return {key: ObjectChecksum(**checksum) for key, checksum in found.items()}

    def set_model(self, model: str, seed: int = 0) -> None:
        """Change the network model, for requests that begin from now on."""
        self._control_command("model", model=model, seed=seed)

    def discard(self, bucket: str, prefix: str) -> int:
        """Drop what is under a prefix, and return how many uploads were in progress there."""
        uploads: int = self._control_command("discard", bucket=bucket, prefix=prefix)
        return uploads

    def set_faults(self, faults: Sequence[Fault], seed: int = 0, ignored_prefix: str = "") -> None:
        """Let faults befall S3's requests from now on, instead of all that were set; none: no more faults.

        What control commands do suffers none. Counts begin anew, of `times` as of `faults_struck`. Copies
        that are each written under a prefix of their own meet the same faults if that is ignored.
        """
        rules = [asdict(fault) for fault in faults]
        self._control_command("set-faults", faults=rules, seed=seed, ignored_prefix=ignored_prefix)

    def faults_struck(self) -> list[int]:
        """Return how often each fault struck, in the order in which they were set."""
        struck: list[int] = self._control_command("faults")
        return struck

    def cut_connections(self) -> int:
        """Reset all connections over which S3 was asked, idle or busy, as when a Lambda was frozen too long.

        Returns how many there were. They are gone when this returns.
        """
        cut: int = self._control_command("cut-connections")
        return cut

    def stats(self) -> dict[str, Any]:
        """Return the counters: see `Activity.counters`."""
        counters: dict[str, Any] = self._control_command("stats")
        return counters

    def cpu_seconds(self) -> float:
        """Return the CPU time the server has used since it started."""
        seconds: float = self.stats()["cpu_seconds"]
        return seconds

    def reset_stats(self) -> None:
        """Set the counters to zero and empty the log."""
        self._control_command("reset-stats")

    def request_log(self) -> list[dict[str, Any]]:
        """Return the last requests, oldest first: see `LoggedRequest`."""
        log: list[dict[str, Any]] = self._control_command("request-log")
        return log

    def _control_command(self, command: str, /, **arguments: object) -> Any:
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
            raise LabError(f"{command}: {document['error']}")
        return document
