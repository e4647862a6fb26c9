"""`Choices`: everything about one run, drawn from its seed. Pure: the same seed gives the same choices."""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tests.servers.content import content

from .faults import FAULTS

if TYPE_CHECKING:
    from collections.abc import Mapping

    from asyncstream.engines import EngineName

KiB, MiB = 1024, 1024 * 1024
ENGINES: tuple[EngineName, ...] = ("sequential", "threads", "asyncio")
SERVERS = ("lab", "moto", "rclone")
CHUNK = 64 * KiB
# Ways to upload a file, and the sizes of their sources in bytes.
KINDS: Mapping[str, tuple[int, ...]] = {
    "empty": (0,),
    "PUT of bytes": (1, 1000, CHUNK),
    "PUT of a stream": (CHUNK + 1, 300_000, 1_500_000),
    "one part": (200_000, 1_500_000),
    "parts": (5 * MiB + 1, 5 * MiB + 1, 11 * MiB + 17),
    "gzip": (40_000, 900_000),
    "gzip in parts": (6 * MiB, 11 * MiB),
}
SIZES = sorted({size for sizes in KINDS.values() for size in sizes})
# Buckets: sources with a CRC64NVME, sources without a checksum, and the copies.
SUMMED, PLAIN, COPIES = "sources", "plain", "copies"


@dataclass(frozen=True)
class Choices:
    """The settings of one run.

    Attributes:
        seed: seed of all other choices and of the faults.
        engine: the engine that runs the transfer.
        server: the server that the file is read from and written to.
        kind: how the file is uploaded.
        bucket: the source's bucket.
        size: bytes of the source.
        settings: fields of `TransferConfig`.
        previous: the object at the destination before the transfer: "none", "other" or "copy".
        rate: the share of requests that meet a fault.
        faults: names of the faults to play.
    """

    seed: int
    engine: EngineName
    server: str
    kind: str
    bucket: str
    size: int
    settings: Mapping[str, Any]
    previous: str
    rate: float
    faults: tuple[str, ...]

    @property
    def source(self) -> str:
        """The source's key."""
        return source_key(self.size)

    @property
    def target(self) -> str:
        """The destination's key, which is unique to this run."""
        return f"run-{self.seed}"

    @property
    def cell(self) -> tuple[str, str, str]:
        """The run's row in the table of uploads."""
        return self.engine, self.kind, self.server


def source_key(size: int) -> str:
    """Return the key of the source of that size."""
    return f"source-{size}"


def source_bytes(size: int) -> bytes:
    """Return the bytes of the source of that size."""
    return content(size, "hunt")


def other_bytes(size: int) -> bytes:
    """Return the bytes of an object that the copy of a source of that size will replace."""
    return content(size, "other") if size else b"other"


def choose(seed: int) -> Choices:
    """Draw a run. Consecutive seeds go through every engine, server and kind of upload."""
    kinds = list(KINDS)
    kind = kinds[seed // (len(ENGINES) * len(SERVERS)) % len(kinds)]
    draw = random.Random(f"choices {seed}")
    bucket = PLAIN if kind == "one part" else draw.choice((SUMMED, SUMMED, PLAIN))
    verify = "before" if kind == "one part" else draw.choice(("before", "before", "after", "off"))
    if kind == "PUT of a stream" and bucket == PLAIN and verify == "before":
        verify = "after"  # with "before" the stream would become an upload of one part
    settings: dict[str, Any] = {
        "chunk_size": CHUNK,
        "part_size": 5 * MiB,
        "multipart": kind == "parts",
        "max_concurrency": draw.choice((1, 2, 4)),
        "max_attempts": draw.choice((2, 3, 4)),
        "retry_base_delay": 0.02,
        "retry_max_delay": 0.1,
        "stall_timeout": draw.choice((0.5, 0.8, 1.2)),
        "deadline": draw.choice((2.0, 2.5, 3.0)),
        "at_deadline": draw.choice(("fail", "fail", "pending")),
        "if_exists": draw.choice(("overwrite", "overwrite", "skip", "fail")),
        "verify": verify,
    }
    if kind.startswith("gzip"):
        settings["transform"] = "gzip"
    return Choices(
        seed=seed,
        engine=ENGINES[seed % len(ENGINES)],
        server=SERVERS[seed // len(ENGINES) % len(SERVERS)],
        kind=kind,
        bucket=bucket,
        size=draw.choice(KINDS[kind]),
        settings=settings,
        previous=draw.choice(("none", "none", "other", "copy")),
        rate=draw.choice((0.2, 0.35, 0.35, 0.5, 0.5, 0.7, 1.0)),
        faults=tuple(draw.sample(sorted(FAULTS), draw.choice((1, 2, 4)))),
    )
