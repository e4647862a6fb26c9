"""One transfer put together: plan, budget, work and coordinator; and nothing else."""

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from itertools import chain
from types import MappingProxyType
from typing import Any

from msgspec import Struct

from asyncstream import tracing, transforms
from asyncstream.deadline import Notice
from asyncstream.errors import InputError
from asyncstream.locations import Pack, S3Object, StandardStream, TarEntry, WebFile, ZipEntries, ZipEntry
from asyncstream.pipeline import listing, memory, plan, progress
from asyncstream.pipeline.assembling import Assembly
from asyncstream.pipeline.budget import slots_within
from asyncstream.pipeline.clients import Clients
from asyncstream.pipeline.config import TransferConfig, memory_left, memory_limit_or_default
from asyncstream.pipeline.context import Ends, TransferContext
from asyncstream.pipeline.continuation import Continuation
from asyncstream.pipeline.coordinator import Coordinator
from asyncstream.pipeline.copying import CopyTasks
from asyncstream.pipeline.file_tasks import FileTasks
from asyncstream.pipeline.jobs import Jobs, Known
from asyncstream.pipeline.other_ends import add_other_ends
from asyncstream.pipeline.output import TransformSettings, transform_settings
from asyncstream.pipeline.pairs import GivenPair, Pair
from asyncstream.pipeline.reservations import Reservations
from asyncstream.pipeline.results import TransferReport
from asyncstream.pipeline.transforming import AS_IT_IS, BufferTasks, TransformTasks
from asyncstream.ports import Span
from asyncstream.transforms import Spec
from asyncstream.web import FetchConfig

# By source and destination.
Continuations = Mapping[tuple[Any, Any], Continuation]
NO_CONTINUATIONS: Continuations = MappingProxyType({})
# The name of a transform, what makes it, and what it holds.
_Loaded = tuple[str, transforms.Factory, transforms.Held]


_DEFAULT_WEB = FetchConfig()
# The share of the memory limit that one assembled part takes. Two or three are in memory at once.
_ASSEMBLED_SHARE = 16


class Step(Struct, frozen=True):
    """What a transfer that is one step of a longer run has in addition.

    Attributes:
        known: what an earlier listing has told of the sources.
        notice: ends the transfer early; see `Notice`.
        tasks: creates the tasks of the files, instead of those that copy them.
    """

    known: Mapping[Any, Known] = listing.NOTHING_KNOWN
    notice: Notice | None = None
    tasks: Callable[[TransferContext], FileTasks] | None = None


NO_STEP = Step()


class Request(Struct, frozen=True):
    """What a transfer is asked for; see `transfer`."""

    files: Iterable[GivenPair]
    config: TransferConfig
    on_event: progress.OnEvent
    continuations: Continuations
    transform: Spec | None
    untouched: S3Object | None = None
    web: FetchConfig = _DEFAULT_WEB
    step: Step = NO_STEP


async def run_transfer(clients: Clients, request: Request) -> TransferReport:
    """Move files to their ends; see `transfer`."""
    pairs = clients.check_pairs(request.files)
    loaded = await _load_transform(clients, request)
    if loaded is not None and request.continuations:
        raise InputError("what a transform makes of a file cannot be continued: give no continuations")
    with tracing.open_trace(engine=clients.engine.name, multipart=request.config.multipart) as span:
        places = chain.from_iterable(pairs)
        async with (
            clients.open(request.config, request.step.notice) as of_s3,
            add_other_ends(of_s3, places, clients.engine, request.config, request.web) as ends,
        ):
            report = await _run(clients, ends, request, pairs, loaded, span)
        span.annotate(
            slots=report.slots, files=len(report.files), failed=report.count("failed"), bytes=report.bytes
        )
    return report


async def _load_transform(clients: Clients, request: Request) -> _Loaded | None:
    transform = request.transform if request.transform is not None else request.config.transform
    if transform is None:
        return None
    # May import a module, and makes one to try.
    factory = await clients.engine.compute(partial(transforms.factory, transform))
    held = await clients.engine.compute(partial(transforms.held_by, factory))
    if request.config.if_exists == "skip":
        transforms.check_name(transform)
    return transforms.name_of(transform), factory, held


async def _run(
    clients: Clients, ends: Ends, request: Request, pairs: Sequence[Pair], loaded: _Loaded | None, span: Span
) -> TransferReport:
    config = request.config
    started = time.monotonic()
    engine = clients.engine
    limit = memory_limit_or_default(config.memory_limit, memory.lambda_memory(), clients.resident)
    # Its parts must come in order.
    in_order = any(isinstance(target, StandardStream) for _, target in pairs)

    def sized(limit: int, *, in_order: bool) -> tuple[int, TransformSettings | None]:
        most_slots = 1 if in_order else min(config.max_concurrency, engine.max_slots)
        slots = slots_within(limit, ends.slot_bytes, most_slots)
        return slots, loaded and transform_settings(*loaded, config, limit, slots, ends.slot_bytes)

    sized(limit, in_order=in_order)  # raises before a prefix is listed
    with span.child("plan"):
        room = memory_left(memory.lambda_memory(), clients.resident)
        files = await listing.list_files(ends, pairs, room - ends.slot_bytes, request.step.known)
        files.check_apart(request.untouched)
        files.add_continuations(request.continuations)
    held = files.held + ends.held
    if held:  # it stays in memory while files are copied
        limit = int(min(limit, room - held))
    ends = ends.with_decoders((limit - ends.slot_bytes) // (1 if loaded is None else 2))
    slots, transforming = sized(limit, in_order=in_order or files.in_order)
    request.on_event(progress.Planned(len(files), files.bytes if files.listed == len(files) else None))
    context = TransferContext(ends, engine, config, request.on_event)
    work: FileTasks
    if request.step.tasks is not None:
        work = request.step.tasks(context)
    elif transforming is not None:
        work = TransformTasks(context, transforming)
    else:
        work = _copying(context, pairs, files, limit, slots)
    reservations = Reservations(limit, ends.slot_bytes, work.max_memory)
    coordinator = Coordinator(files, work, context, slots=slots, reservations=reservations, span=span)
    results = await coordinator.run()
    seconds = time.monotonic() - started
    return TransferReport(
        engine.name,
        results,
        seconds,
        slots,
        limit,
        ends.requests,
        folder_markers=files.folder_markers,
        downgrades=ends.downgrades,
    )


def _copying(
    context: TransferContext, pairs: Sequence[Pair], files: Jobs, limit: int, slots: int
) -> FileTasks:
    config = context.config
    buffered = _buffering(context, limit, slots) if _may_need_buffers(pairs, files) else None
    if buffered is not None and isinstance(pairs[0][0], StandardStream):
        return buffered
    auto = config.part_size == "auto"
    packs = any(isinstance(source, Pack) for source, _ in pairs)
    per_slot = plan.PACK_PARTS_PER_SLOT if packs else plan.PARTS_PER_SLOT

    def size_for(bytes_: int) -> int:
        return (
            plan.auto_part_size([bytes_], slots, per_slot) if config.part_size == "auto" else config.part_size
        )

    # A pack is one file, so its parts are all that can run at once.
    multipart = config.multipart or packs
    max_range = plan.max_range(size_for(files.bytes), multipart, chained=context.deadline.pauses)

    def part_length(size: int) -> int:
        # A size that is known from the first reply counts from then on.
        grown = size_for(size) if auto else 0
        return plan.part_length(size, max(max_range, grown))

    def in_order_length(size: int) -> int:
        # Parts that run at once would each decode all bytes before them.
        return plan.part_length(size, plan.max_range(0, multipart=False, chained=context.deadline.pauses))

    assembly = _assembly(context, limit, slots) if packs else None
    return CopyTasks(context, part_length, buffered, assembly, in_order_length)


def _assembly(context: TransferContext, limit: int, slots: int) -> Assembly | None:
    """Return how to read packs of small files; None if parts in memory do not fit, or would not help."""
    config = context.config
    length = max(plan.MIN_PART, limit // _ASSEMBLED_SHARE) if config.part_size == "auto" else config.part_size
    if slots == 1 or length > limit - context.ends.slot_bytes:
        return None
    return Assembly(length, slots)


def _may_need_buffers(pairs: Sequence[Pair], files: Jobs) -> bool:
    """Whether a source may have no known size, or be read in order only and too large for one PUT."""
    if any(isinstance(source, StandardStream | WebFile) for source, _ in pairs):
        return True
    if files.in_order and any(isinstance(source, TarEntry) for source, _ in pairs):
        return True  # its size was not listed
    in_order = files.in_order or any(isinstance(source, ZipEntry | ZipEntries | Pack) for source, _ in pairs)
    return files.largest > plan.MAX_PUT and in_order


def _buffering(context: TransferContext, limit: int, slots: int) -> BufferTasks:
    """Return what copies sources of unknown size. A limit for transforms does not limit copies."""
    own = context.config.override({"max_output": None})
    return BufferTasks(context, transform_settings(*AS_IT_IS, own, limit, slots, context.ends.slot_bytes))
