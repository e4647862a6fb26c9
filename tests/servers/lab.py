"""The project's own lab S3: the one server that counts connections and can refuse access."""

from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

from asyncstream.lab.s3 import LabS3

from .base import Bucket, Capability, S3Server

# The server denies every request signed with this key; see asyncstream/lab/s3/routing.py.
DENIED_ACCESS_KEY = "AKIADENIED"


class LabServer(S3Server):
    name = "lab"
    lacks: ClassVar[Mapping[Capability, str]] = {
        Capability.STORAGE_CLASSES: "the lab S3 keeps no storage class",
        Capability.VERSIONS: "the lab S3 has no versions",
        Capability.TAGS: "the lab S3 has no tags",
    }

    def __init__(self, **options: Any) -> None:
        super().__init__()
        self._options = options

    def start(self, directory: Path) -> None:
        self.lab = LabS3(**self._options)
        self.endpoint_url = self.lab.endpoint_url

    def stop(self) -> None:
        self.lab.close()

    def new_bucket(self) -> Bucket:
        return _LabBucket(self, f"bucket-{next(self._bucket_numbers)}")

    def _requests_since_start(self) -> Counter[str]:
        return Counter(self.lab.stats()["operations"])


class _LabBucket(Bucket):
    """A bucket that one control command empties."""

    def __init__(self, server: LabServer, name: str) -> None:
        super().__init__(server.client, name)
        self._lab = server.lab

    def empty(self) -> None:
        self._lab.discard(self.name, "")
