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
    """The server's data about an object, with or without its content."""

    size: int
    crc64nvme: str  # base64, as in S3's headers
    etag: str
    headers: dict[str, str]  # system metadata such as Content-Type, and x-amz-meta-*


class LabS3(ServerProcess):
    """A running lab S3; a context manager.

    Raises:
        LabError: the server did not start, or refused a control command.
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
            "AWS_SECRET_ACCESS_KEY": "lab",  # the server does not check it
            "AWS_DEFAULT_REGION": "us-east-1",
            "AWS_EC2_METADATA_DISABLED": "true",
        }
        return variables | ({"AWS_CA_BUNDLE": self.ca_bundle} if self.ca_bundle else {})

    def create_bucket(self, name: str, *, keep: bool, checksums: bool = True) -> None:
        """Create a bucket that keeps uploaded content, or only its size and checksum.

        Without `checksums` it behaves as a server that neither returns nor verifies checksums.
        """
        self._control_command("create-bucket", name=name, keep=keep, checksums=checksums)

    def declare(
        self,
        bucket: str,
        objects: Iterable[tuple[str, int]],
        checksum: str | None = "CRC64NVME",
        part_size: int | None = None,
    ) -> None:
        """Create objects with synthetic content from pairs of key and size. They use no storage.

        `checksum` is their kind of checksum; None: they have none, as old objects do. Kinds other than
        CRC64NVME are computed by reading every object. With `part_size` (bytes) the objects appear as
        uploaded in parts of this size, with a checksum of their parts' checksums.
        """
        arguments = {"objects": list(objects), "checksum": checksum, "part_size": part_size}
        self._control_command("declare", bucket=bucket, **arguments)

    def declare_many(self, bucket: str, prefix: str, count: int, size: int) -> list[str]:
        """Create synthetic objects of the same size, and return their keys: the prefix and a number."""
        keys = [f"{prefix}{number:06d}" for number in range(count)]
        self.declare(bucket, [(key, size) for key in keys])
        return keys

    def checksums(self, bucket: str, prefix: str = "") -> dict[str, ObjectChecksum]:
        """Return size and checksum of every object. A correct copy has those of its source."""
        found = self._control_command("checksums", bucket=bucket, prefix=prefix)
        return {key: ObjectChecksum(**checksum) for key, checksum in found.items()}

    def set_model(self, model: str, seed: int = 0) -> None:
        """Change the network model for later requests."""
        self._control_command("model", model=model, seed=seed)

    def discard(self, bucket: str, prefix: str) -> int:
        """Delete everything under a prefix, and return the number of unfinished uploads there."""
        uploads: int = self._control_command("discard", bucket=bucket, prefix=prefix)
        return uploads

    def set_faults(self, faults: Sequence[Fault], seed: int = 0, ignored_prefix: str = "") -> None:
        """Replace the fault rules for later S3 requests. Without rules, faults end.

        Control commands get no faults. The counts for `times` and `faults_struck` start again at 0. Copies
        with different destination prefixes get the same faults if the prefix is passed as `ignored_prefix`.
        """
        rules = [asdict(fault) for fault in faults]
        self._control_command("set-faults", faults=rules, seed=seed, ignored_prefix=ignored_prefix)

    def faults_struck(self) -> list[int]:
        """Return how often each rule applied, in the order of the rules."""
        struck: list[int] = self._control_command("faults")
        return struck

    def cut_connections(self) -> int:
        """Reset all S3 connections, idle or busy, as after a long freeze of a Lambda environment.

        Returns:
            The number of connections, which are closed now.
        """
        cut: int = self._control_command("cut-connections")
        return cut

    def stats(self) -> dict[str, Any]:
        """Return the counters. See `Activity.counters`."""
        counters: dict[str, Any] = self._control_command("stats")
        return counters

    def cpu_seconds(self) -> float:
        """Return the server's CPU time in seconds since its start."""
        seconds: float = self.stats()["cpu_seconds"]
        return seconds

    def reset_stats(self) -> None:
        """Set the counters to zero and empty the log."""
        self._control_command("reset-stats")

    def request_log(self) -> list[dict[str, Any]]:
        """Return the last requests, oldest first. See `LoggedRequest`."""
        log: list[dict[str, Any]] = self._control_command("request-log")
        return log

    def _control_command(self, command: str, /, **arguments: object) -> Any:
        """Run a control command over a new connection, so any thread may call this."""
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
