"""Transfers over an in-memory store: their setup, and checks of what they leave."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Literal

from hypothesis import strategies as st

from asyncstream.checksum import CRC64NVME, Checksum
from asyncstream.deadline import Deadline
from asyncstream.errors import UploadGone
from asyncstream.locations import S3Object, S3Prefix
from asyncstream.pipeline import plan, progress
from asyncstream.pipeline.config import TransferConfig
from asyncstream.pipeline.context import Ends, TransferContext
from asyncstream.pipeline.continuation import PartRun
from asyncstream.pipeline.coordinator import Coordinator
from asyncstream.pipeline.copying import CopyTasks
from asyncstream.pipeline.jobs import Job
from asyncstream.pipeline.output import TransformSettings
from asyncstream.pipeline.reservations import Reservations
from asyncstream.pipeline.results import FileResult
from asyncstream.pipeline.transforming import TransformTasks
from asyncstream.ports import Engine
from asyncstream.retry import Retrying
from asyncstream.tracing.spans import UNTRACED

from .memory_store import SLOT_BYTES, MemoryStore, checksum_of, etag_of

ATTEMPTS = 3
Verify = Literal["before", "after", "off"]
UNLIMITED = 10**6 * SLOT_BYTES
GONE = UploadGone("aborted by a lifecycle rule", "NoSuchUpload", 404)


def ends_of(store: MemoryStore, retrying: Retrying) -> Ends:
    """Return both ends over one store."""
    kinds = (S3Object, S3Prefix)
    return Ends(dict.fromkeys(kinds, store), dict.fromkeys(kinds, store), retrying)


@dataclass(frozen=True)
class Setup:
    """The settings of a transfer. Part sizes are tiny: the coordinator does not check S3's limits."""

    slots: int = 4
    limit: int = UNLIMITED
    part_size: int = 10
    multipart: bool = True
    deadline: float | None = None
    on_event: progress.OnEvent = progress.ignore
    verify: Verify = "before"
    pauses: bool = False
    complete_timeout: float = 1e-3
    clock: Callable[[], float] = time.monotonic
    transforming: TransformSettings | None = None

    def coordinator(self, jobs: Sequence[Job], store: MemoryStore, engine: Engine) -> Coordinator:
        config = TransferConfig(
            multipart=self.multipart,
            max_attempts=ATTEMPTS,
            retry_base_delay=1e-6,
            complete_timeout=self.complete_timeout,
            verify=self.verify,
        )
        max_range = plan.max_range(self.part_size, self.multipart, chained=False)
        deadline = Deadline(self.deadline, self.clock, pauses=self.pauses)
        retrying = Retrying(config.retry_policy, deadline, engine.sleep)
        context = TransferContext(ends_of(store, retrying), engine, config, self.on_event)
        work: CopyTasks | TransformTasks = CopyTasks(context, partial(plan.part_length, wanted=max_range))
        if self.transforming is not None:
            work = TransformTasks(context, self.transforming)
        reservations = Reservations(self.limit, SLOT_BYTES, work.max_memory)
        return Coordinator(jobs, work, context, slots=self.slots, reservations=reservations, span=UNTRACED)

    def run(self, jobs: Sequence[Job], store: MemoryStore, engine: Engine) -> Sequence[FileResult]:
        return engine.run(lambda: self.coordinator(jobs, store, engine).run())


def source(number: int) -> S3Object:
    return S3Object("raw", f"key-{number}")


def target(number: int) -> S3Object:
    return S3Object("clean", f"key-{number}")


def content(number: int, size: int) -> bytes:
    """Return bytes that differ from file to file and from place to place."""
    return bytes((number * 37 + place * 7 + place // 256) % 251 for place in range(size))


def cut(size: int, part_size: int) -> list[int]:
    """Return the sizes of the parts in which a source was uploaded."""
    return [min(part_size, size - start) for start in range(0, size, part_size)] if part_size else []


def run_of(first: int, last: int, start: int, length: int) -> PartRun:
    """Return a continuation's run of confirmed parts of `WHOLE`."""
    value = checksum_of(WHOLE[start : start + length]).value
    return PartRun(first, last, length, {CRC64NVME: value})


def stored(sizes: Sequence[int]) -> dict[S3Object, bytes]:
    return {source(number): content(number, size) for number, size in enumerate(sizes)}


def jobs_of(sizes: Sequence[int], *, listed: bool = False) -> list[Job]:
    """Return one job per file; with `listed`, size and ETag are known as after a listing."""
    return [
        Job(source(n), target(n), size, etag_of(content(n, size))) if listed else Job(source(n), target(n))
        for n, size in enumerate(sizes)
    ]


def assert_nothing_is_left(store: MemoryStore) -> None:
    assert store.uploads == {}
    assert store.open_streams == set()
    assert sum(store.in_flight.values()) == 0
    assert store.violations == []


# The one file of most failing transfers: four parts.
SIZE = 35
WHOLE = content(0, SIZE)


def source_checksums(kind: str = CRC64NVME) -> dict[S3Object, Checksum]:
    """Return the checksum that S3 keeps of the one source."""
    return {source(0): checksum_of(WHOLE, kind)}


def assert_copied(result: FileResult, store: MemoryStore) -> None:
    assert result.error is None
    assert (result.status, result.bytes) == ("copied", SIZE)
    assert store.objects[target(0)] == WHOLE
    assert_nothing_is_left(store)


SIZES = st.lists(st.integers(0, 60), min_size=1, max_size=6)
SETUPS = st.builds(
    Setup,
    slots=st.integers(1, 5),
    limit=st.integers(SLOT_BYTES, 6 * SLOT_BYTES),
    part_size=st.integers(1, 25),
    multipart=st.booleans(),
)
