"""The S3 that files are copied in, and its first kind, the lab's.

The other kind, any other S3, is in `endpoint.py`.
"""

import os
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Protocol

from asyncstream.engines.closing import Closing
from asyncstream.lab.compare.verification import Checksum
from asyncstream.lab.compare.work import Seen
from asyncstream.lab.s3 import LabS3
from asyncstream.lab.s3.faults import mix
from asyncstream.pipeline.config import ENV_PREFIX


class Testbed(Protocol):
    """An S3 with a place for sources and one for results; prefixes end with a slash."""

    def environment(self) -> Mapping[str, str]:
        """Environment variables of a function that is to find it, and the user's settings of asyncstream."""

    def source(self, prefix: str) -> str:
        """The URI of a prefix among the sources."""

    def destination(self, prefix: str) -> str:
        """The URI of a prefix among the results."""

    def put_sources(self, prefix: str, names: Sequence[str], size: int) -> None:
        """Have files of `size` bytes, no two of them alike, under a prefix."""

    def expected(self, prefix: str) -> dict[str, Checksum]:
        """The checksums of the sources under a prefix, by what follows it in their keys."""

    def found(self, prefix: str) -> dict[str, Checksum]:
        """The checksums of the results under a prefix, of the bytes as they arrived."""

    def run_begins(self, prefix: str, seed: int) -> None:
        """Watch from here on, and have faults befall what is asked for, where there are to be some.

        Args:
            prefix: of the results that the run will write.
            seed: of the faults: the same ones befall the same requests.
        """

    def run_ended(self) -> Seen:
        """What was seen since then. Nothing goes wrong any more."""

    def discard(self, prefix: str) -> int:
        """Drop the results under a prefix; how many uploads were neither completed nor aborted there."""


def users_settings() -> dict[str, str]:
    """The `ASYNCSTREAM_` variables: the user's way to tune what is compared."""
    return {name: value for name, value in os.environ.items() if name.startswith(ENV_PREFIX)}


class LabTestbed(Closing):
    """The lab S3: synthetic sources, and results reduced to their checksums. A context manager.

    Args:
        model: of the network.
        tls: whether it serves https.
        faults: the share of a run's requests that go wrong; None: faults are no subject.
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
        """End the server."""
        self._lab.close()

    def environment(self) -> Mapping[str, str]:
        """See `Testbed`; nothing of the user's own AWS settings is let through."""
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

    def expected(self, prefix: str) -> dict[str, Checksum]:
        """See `Testbed`."""
        return self._checksums("source", prefix)

    def found(self, prefix: str) -> dict[str, Checksum]:
        """See `Testbed`: the server has computed them over the bytes it received."""
        return self._checksums("destination", prefix)

    def run_begins(self, prefix: str, seed: int) -> None:
        """See `Testbed`."""
        self._lab.reset_stats()
        if self._faults is not None:
            self._lab.set_faults(self._faults, seed=seed, ignored_prefix=prefix)

    def run_ended(self) -> Seen:
        """See `Testbed`: the server has counted."""
        requests: dict[str, int] = self._lab.stats()["operations"]
        if self._faults is None:
            return Seen(requests)
        struck: Counter[str] = Counter()
        for fault, times in zip(self._faults, self._lab.faults_struck(), strict=True):
            struck[fault.name] += times
        self._lab.set_faults([])
        return Seen(requests, dict(+struck))

    def discard(self, prefix: str) -> int:
        """See `Testbed`."""
        return self._lab.discard("destination", prefix)

    def _checksums(self, bucket: str, prefix: str) -> dict[str, Checksum]:
        return {
            key.removeprefix(prefix): Checksum(checksum.size, checksum.crc64nvme)
            for key, checksum in self._lab.checksums(bucket, prefix).items()
        }
