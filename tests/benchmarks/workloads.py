"""The workloads: the objects, the peers that copy them, and the project's targets."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from tests.benchmarks import checks, peers, sources
from tests.benchmarks.targets import MIB, Target, gets, usd

if TYPE_CHECKING:
    from collections.abc import Callable

    from asyncstream.lab.s3 import LabS3
    from tests.benchmarks.measure import Measurement
    from tests.benchmarks.targets import Metric, Unit

SOURCE_BUCKET = "benchmark-source"
MB, GB = 10**6, 10**9


@dataclass(frozen=True, slots=True)
class Workload:
    """Objects of one size over one protocol, the peers that copy them, and their references.

    The unit decides the figure: CPU seconds per GB, CPU or wall seconds (less is better), or files per CPU
    second (more is better). `sources` stores that many objects of that size in a bucket of a lab and returns
    their keys. `check` compares a peer's bucket with that one; the content of the buckets of the peers in
    `kept` is kept until then. `model` is the lab's network model. Workloads of one `group` can be chosen by
    its name; requests and their price are shown if `priced`.
    """

    name: str
    objects: str
    tls: bool
    count: int
    size: int
    unit: Unit
    peers: tuple[str, ...]
    references: tuple[str, ...]
    targets: tuple[Target, ...]
    sources: Callable[[LabS3, str, int, int], list[str]] = sources.synthetic
    check: Callable[[LabS3, str, str], None] = checks.copies
    kept: tuple[str, ...] = ()
    model: str = "off"
    group: str = ""
    priced: bool = False

    @property
    def title(self) -> str:
        return f"{self.count:,} {self.objects}"

    @property
    def gigabytes(self) -> float:
        return self.count * self.size / GB

    @property
    def less_is_better(self) -> bool:
        return self.unit != "files/CPU s"

    def figure(self, measurement: Measurement, metric: Metric = "cost") -> float:
        """Return a metric of a measurement. The cost is in the workload's unit."""
        if metric == "cost":
            return self._cost(measurement)
        if metric == "peak MiB":
            return measurement.peak_bytes / MIB
        if metric == "GETs":
            return gets(measurement.requests)
        if metric == "USD":
            return usd(measurement, has_network=self.model != "off")
        return measurement.wall_seconds

    def _cost(self, measurement: Measurement) -> float:
        cpu = measurement.cpu_seconds
        if self.unit == "CPU s/GB":
            return cpu / self.gigabytes
        if self.unit == "files/CPU s":
            return self.count / cpu
        return cpu if self.unit == "CPU s" else measurement.wall_seconds

    def met(self, target: Target, measured: float) -> bool:
        if target.metric == "cost" and not self.less_is_better:
            return measured >= target.bound
        return measured <= target.bound


_LARGE = (
    *peers.OURS,
    *peers.OLDER_SDKS.values(),
    "sockets",
    "obstore",
    "obstore_tuned",
    "boto3_upload",
    "boto3_upload_threads",
    "aioboto3_upload",
)
_SMALL = (
    *peers.OURS,
    *peers.OLDER_SDKS.values(),
    "obstore_small",
    "boto3_upload_threads",
    "boto3_get_put_threads",
    "aioboto3_get_put",
)


# The current SDKs must not cost more than the older ones.
_NO_DEARER = tuple(Target(engine, name, 1.05) for engine, name in peers.OLDER_SDKS.items())
_NO_SLOWER = tuple(Target(engine, name, 0.95) for engine, name in peers.OLDER_SDKS.items())


def _ten_large(name: str, scheme: str, targets: tuple[Target, ...]) -> Workload:
    return Workload(
        name,
        f"objects of 100 MB over {scheme}",
        tls=scheme == "TLS",
        count=10,
        size=100 * MB,
        unit="CPU s/GB",
        peers=_LARGE,
        references=("obstore", "obstore_tuned", "sockets"),
        targets=(*targets, *_NO_DEARER),
    )


COPIES = (
    _ten_large(
        "large",
        "HTTP",
        (
            Target("sequential", "obstore", 0.45),
            Target("sequential", "sockets", 1.4),
            Target("threads", "obstore", 0.6),
            Target("threads", "sockets", 1.8),
            Target("asyncio", "obstore", 0.6),
            Target("asyncio", "sockets", 1.8),
        ),
    ),
    _ten_large(
        "tls",
        "TLS",
        (
            Target("sequential", "obstore", 0.8),
            Target("threads", "obstore", 0.8),
            Target("asyncio", "obstore", 0.9),
        ),
    ),
    Workload(
        "small",
        "objects of 16 KiB over HTTP",
        tls=False,
        count=2000,
        size=16 * 1024,
        unit="files/CPU s",
        peers=_SMALL,
        references=("boto3_upload_threads", "boto3_get_put_threads", "aioboto3_get_put", "obstore_small"),
        # The references are the shortest code that people write with the same SDK.
        targets=(
            Target("threads", "boto3_get_put_threads", 1.5),
            Target("asyncio", "aioboto3_get_put", 1.5),
            *_NO_SLOWER,
        ),
    ),
    Workload(
        "traced",
        "objects of 100 MB over HTTP, traced",
        tls=False,
        count=10,
        size=100 * MB,
        unit="CPU s/GB",
        peers=(*peers.OURS, *peers.TRACED.values()),
        references=peers.OURS,
        targets=tuple(Target(name, engine, 1.05) for engine, name in peers.TRACED.items()),
    ),
    Workload(
        "verified",
        "objects of 100 MB over HTTP, with and without checksums",
        tls=False,
        count=10,
        size=100 * MB,
        unit="CPU s/GB",
        peers=(*peers.OURS, *peers.UNVERIFIED.values()),
        references=tuple(peers.UNVERIFIED.values()),
        targets=tuple(Target(engine, name, 1.08) for engine, name in peers.UNVERIFIED.items()),
    ),
    Workload(
        "gunzip",
        "objects of 200 MB over HTTP, gunzipped",
        tls=False,
        count=5,
        size=200 * MB,
        unit="CPU s/GB",
        peers=(*peers.GUNZIPS.values(), *peers.SUMS.values()),
        references=tuple(peers.SUMS.values()),
        targets=tuple(Target(peers.GUNZIPS[engine], peers.SUMS[engine], 1.15) for engine in peers.OURS),
        sources=sources.gzipped,
    ),
    Workload(
        "service",
        "requests to a web service, 200 at once, that copy 1 MB each over HTTP",
        tls=False,
        count=1000,
        size=MB,
        unit="CPU s/GB",
        peers=(peers.SERVICE, "aiobotocore_service", "aiobotocore_service_wide"),
        references=("aiobotocore_service", "aiobotocore_service_wide"),
        targets=(Target(peers.SERVICE, "aiobotocore_service", 1.0),),
    ),
)
