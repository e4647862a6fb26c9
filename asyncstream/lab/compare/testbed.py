"""`Testbed`: the S3 of a comparison, and the lab's S3 as a testbed. `endpoint.py` has other S3s."""

import os
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Protocol

from asyncstream.engines.closing import Closing
from asyncstream.lab.compare.harness import ServerCounts
from asyncstream.lab.compare.verification import Checksum
from asyncstream.lab.s3 import LabS3
from asyncstream.lab.s3.faults import mix
from asyncstream.pipeline.config import ENV_PREFIX


class Testbed(Protocol):
    """An S3 with a place for sources and one for results. Prefixes end with a slash."""

    def environment(self) -> Mapping[str, str]:
        """Return the environment variables for a function: this S3's and those of `users_settings`."""

    def source(self, prefix: str) -> str:
        """Return the URI of a prefix among the sources."""

    def destination(self, prefix: str) -> str:
        """Return the URI of a prefix among the results."""

    def put_sources(self, prefix: str, names: Sequence[str], size: int) -> None:
        """Create files of `size` bytes with different contents under a prefix."""

    def checksum_sources(self, prefix: str) -> dict[str, Checksum]:
        """Return the checksums of the sources under a prefix, by the rest of their keys."""

    def checksum_results(self, prefix: str) -> dict[str, Checksum]:
        """Return the checksums of the bytes of the results under a prefix, by the rest of their keys."""

    def start_run(self, prefix: str, seed: int) -> None:
        """Start counting requests, and injecting faults if the testbed has any.

        Args:
            prefix: the prefix of the results that the run will write.
            seed: chooses the faults. With the same seed, the same requests get the same faults.
        """

    def end_run(self) -> ServerCounts:
        """Stop injecting faults, and return the counts since `start_run`."""

    def discard(self, prefix: str) -> int:
        """Delete the results under a prefix, and return the number of unfinished uploads there."""


def users_settings() -> dict[str, str]:
    """Return the `ASYNCSTREAM_` variables, with which the user tunes the variants."""
    return {name: value for name, value in os.environ.items() if name.startswith(ENV_PREFIX)}


class LabTestbed(Closing):
    """The lab S3 with synthetic sources, which stores only the checksums of results; a context manager.

    Args:
        model: the network model; see `asyncstream.lab.s3.model`.
        tls: whether it serves https.
        faults: the share of a run's requests that fail; None: faults are not counted.
    """

    server = "asyncstream's lab server on this machine"

    def __init__(self, model: str, *, tls: bool, faults: float | None = None) -> None:
        self._faults = None if faults is None else mix(faults)
        self._lab = LabS3(model=model, tls=tls)
        try:
            self._lab.create_bucket("source", keep=True)
            self._lab.create_bucket("destination", keep=False)
        except BaseException:
            self._lab.close()
            raise

    def close(self) -> None:
        """Stop the server."""
        self._lab.close()

    def environment(self) -> Mapping[str, str]:
        """See `Testbed`. Excludes the user's AWS settings."""
        nothing = {"AWS_CONFIG_FILE": os.devnull, "AWS_SHARED_CREDENTIALS_FILE": os.devnull}
        return users_settings() | nothing | self._lab.environment()

    def source(self, prefix: str) -> str:
        """See `Testbed`."""
        return f"s3://source/{prefix}"

    def destination(self, prefix: str) -> str:
        """See `Testbed`."""
        return f"s3://destination/{prefix}"

    def put_sources(self, prefix: str, names: Sequence[str], size: int) -> None:
        """See `Testbed`."""
        self._lab.declare("source", [(prefix + name, size) for name in names])

    def checksum_sources(self, prefix: str) -> dict[str, Checksum]:
        """See `Testbed`."""
        return self._checksums("source", prefix)

    def checksum_results(self, prefix: str) -> dict[str, Checksum]:
        """See `Testbed`. The server computes the checksums of the bytes that it receives."""
        return self._checksums("destination", prefix)

    def start_run(self, prefix: str, seed: int) -> None:
        """See `Testbed`."""
        self._lab.reset_stats()
        if self._faults is not None:
            self._lab.set_faults(self._faults, seed=seed, ignored_prefix=prefix)

    def end_run(self) -> ServerCounts:
        """See `Testbed`. The server counts requests and faults."""
        requests: dict[str, int] = self._lab.stats()["operations"]
        if self._faults is None:
            return ServerCounts(requests)
        struck: Counter[str] = Counter()
        for fault, times in zip(self._faults, self._lab.faults_struck(), strict=True):
            struck[fault.name] += times
        self._lab.set_faults([])
        return ServerCounts(requests, dict(+struck))

    def discard(self, prefix: str) -> int:
        """See `Testbed`."""
        return self._lab.discard("destination", prefix)

    def _checksums(self, bucket: str, prefix: str) -> dict[str, Checksum]:
        return {
            key.removeprefix(prefix): Checksum(checksum.size, checksum.crc64nvme)
            for key, checksum in self._lab.checksums(bucket, prefix).items()
        }
