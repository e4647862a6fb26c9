"""`estimate`: what a run will take, in minutes and dollars, before it starts. Does no I/O."""

from collections.abc import Mapping
from heapq import heapify, heapreplace

from msgspec import Struct

from asyncstream.errors import InputError
from asyncstream.prices import Architecture, PriceTable
from asyncstream.runs.costs import Speeds
from asyncstream.runs.descriptions import Totals
from asyncstream.runs.pages import LISTS_AT_ONCE
from asyncstream.units import rounded

# AWS Lambda developer guide, "Lambda scaling behavior": a function starts up to 1,000 environments in 10 s.
STARTED_AT_ONCE, START_INTERVAL = 1_000, 10.0
# Seconds until a new environment runs code; an assumption.
ENVIRONMENT_SECONDS = 0.3
# CPU seconds of importing a handler with threads, with bytecode: `make bench ARGS="--only artefact"`.
IMPORT_CPU = 0.213
# Seconds between the end of a batch and the start of the next in its place: the state machine notices the
# end, starts an execution and invokes the function. An assumption.
HAND_OUT_SECONDS = 0.2
# Requests of a batch beside its files: GETs of two possible outcomes, of the run's description and of the
# batch's rows, and a PUT of its outcome.
BATCH_GETS, BATCH_PUTS = 4, 1
# Seconds of a LIST of 1,000 keys; an assumption. The lab's model has no larger latency for lists.
LIST_SECONDS = 0.1
# CPU seconds of planning a file: reading, packing and writing its row. Measured with an inventory of ten
# million rows: 75,000 rows per CPU second.
PLAN_CPU = 13e-6
# CPU seconds of a LIST of 1,000 keys in addition. Measured: 27,000 keys per CPU second.
LIST_CPU = 0.024
LIST_PAGE = 1_000
# Step Functions developer guide, "Transitions": each child execution that a Distributed Map starts is one.
# Its task and its end are counted here, too.
BATCH_TRANSITIONS = 3
# The plan, its choice, the Map, the last step, and the ends of these.
RUN_TRANSITIONS = 8
# Invocations that plan and finish.
RUN_INVOCATIONS = 2


class Seconds(Struct, frozen=True):
    """How long a run takes, in seconds, by its phases.

    Attributes:
        plan: reading the source (LISTs, eight at once; CPU for each file), creating the uploads of
            giants, and writing the batches.
        start: until the first function runs code, and if there are more than 1,000, until the mean one does:
            Lambda starts 1,000 more every 10 s.
        moving: the bound: the seconds of all batches, divided by the functions.
        handing_out: what the state machine and the requests of a batch add, divided by the functions.
        tail: the time in which some functions are idle, because no batch is left.
        finish: listing the outcomes, listing the parts of giants, and completing their uploads.
    """

    plan: float
    start: float
    moving: float
    handing_out: float
    tail: float
    finish: float

    @property
    def total(self) -> float:
        """All of it."""
        return self.plan + self.start + self.moving + self.handing_out + self.tail + self.finish


class Dollars(Struct, frozen=True):
    """What a run costs, in USD.

    Attributes:
        requests: requests to S3.
        compute: Lambda, by memory and time.
        invocations: Lambda, by invocation.
        transitions: Step Functions.
    """

    requests: float
    compute: float
    invocations: float
    transitions: float

    @property
    def total(self) -> float:
        """All of it."""
        return self.requests + self.compute + self.invocations + self.transitions


class Estimate(Struct, frozen=True, kw_only=True):
    """What a run will take.

    Attributes:
        files, bytes, largest, left_out, batches, giants: see `Totals`.
        functions: how many functions run at once.
        memory_mb: MB of memory of each.
        requests: requests to S3, by operation.
        invocations: invocations of the function.
        transitions: state transitions.
        seconds: how long the run takes.
        dollars: what it costs.
        priced: the day and the region of the prices.
    """

    files: int
    bytes: int
    largest: int
    left_out: Mapping[str, int]
    batches: int
    giants: int
    functions: int
    memory_mb: int
    requests: Mapping[str, int]
    invocations: int
    transitions: int
    seconds: Seconds
    dollars: Dollars
    priced: str


def estimate(
    totals: Totals, functions: int, speeds: Speeds, prices: PriceTable, architecture: Architecture = "arm64"
) -> Estimate:
    """Return what a run takes whose plan has these totals.

    Args:
        totals: of a whole plan.
        functions: how many functions run at once.
        speeds: how fast each is.
        prices: what requests, compute and transitions cost.
        architecture: that of the functions.

    Raises:
        InputError: there are no functions.
        ConfigError: the table lacks a price.
    """
    if functions < 1:
        raise InputError(f"functions={functions} must be at least 1")
    requests = requests_of(totals)
    seconds = seconds_of(totals, functions, speeds)
    invocations = totals.batches + RUN_INVOCATIONS
    transitions = BATCH_TRANSITIONS * totals.batches + RUN_TRANSITIONS
    billed = _billed_seconds(totals, functions, speeds, seconds)
    gb_seconds = billed * speeds.memory_mb / 1024
    invoked = prices.million_invocations * invocations / 1e6
    return Estimate(
        files=totals.files,
        bytes=totals.bytes,
        largest=totals.largest,
        left_out=totals.left_out,
        batches=totals.batches,
        giants=totals.giants,
        functions=functions,
        memory_mb=speeds.memory_mb,
        requests=requests,
        invocations=invocations,
        transitions=transitions,
        seconds=seconds,
        dollars=Dollars(
            prices.requests_usd(requests),
            prices.gb_seconds_usd(gb_seconds, architecture),
            invoked,
            prices.transitions_usd(transitions),
        ),
        priced=f"{prices.date}, {prices.region}",
    )


def requests_of(totals: Totals) -> dict[str, int]:
    """Return the requests of a run, by operation, from its plan to its last step."""
    batches, giants = totals.batches, totals.giants
    # Each range asks which of its parts are there; the last step asks for all.
    part_lists = totals.ranges + (giants + totals.parts // LIST_PAGE if giants else 0)
    counts = {
        "GetObject": totals.gets + totals.source_gets + BATCH_GETS * batches,
        # Beside the batches themselves, the plan writes the list of batches and the description.
        "PutObject": totals.puts + (1 + BATCH_PUTS) * batches + totals.upload_lists + 2,
        "CreateMultipartUpload": totals.uploads,
        "UploadPart": totals.parts,
        "CompleteMultipartUpload": totals.uploads,
        "ListParts": part_lists,
        "ListObjectsV2": totals.source_lists + _pages(batches),
    }
    return {operation: count for operation, count in counts.items() if count}


def seconds_of(totals: Totals, functions: int, speeds: Speeds) -> Seconds:
    """Return how long a run takes; see `Seconds`."""
    reads = totals.source_lists / LISTS_AT_ONCE + totals.source_gets
    writes = totals.batches + totals.upload_lists + totals.giants + 2
    planning = (totals.files * PLAN_CPU + totals.source_lists * LIST_CPU) / speeds.vcpus
    workers = min(functions, max(totals.batches, 1))
    starts = [_start_seconds(speeds) + START_INTERVAL * (at // STARTED_AT_ONCE) for at in range(workers)]
    start, moving = sum(starts) / workers, totals.seconds / workers
    each = HAND_OUT_SECONDS + _batch_seconds(speeds)
    handing_out = totals.batches * each / workers
    ending = _last_end(totals, starts, each)
    parts = totals.parts // LIST_PAGE if totals.giants else 0
    finishing = (totals.giants + parts + _pages(totals.batches)) * LIST_SECONDS
    return Seconds(
        plan=_start_seconds(speeds) + reads * LIST_SECONDS + writes * speeds.first_byte + planning,
        start=start,
        moving=moving,
        handing_out=handing_out,
        tail=max(ending - start - moving - handing_out, 0.0),
        finish=finishing + totals.giants * speeds.first_byte,
    )


def _last_end(totals: Totals, starts: list[float], each: float) -> float:
    """Return when the last function ends, if each takes the next batch in order as soon as it is free.

    Batches that the totals count together take the same time each.
    """
    free = list(starts)
    heapify(free)
    for count, seconds in totals.pace:
        for _ in range(count):
            heapreplace(free, free[0] + seconds / count + each)
    return max(free)


def _start_seconds(speeds: Speeds) -> float:
    """Return the seconds of a cold start."""
    return ENVIRONMENT_SECONDS + IMPORT_CPU / speeds.vcpus


def _batch_seconds(speeds: Speeds) -> float:
    """Return the seconds of a batch within its function, beside its files."""
    requests = BATCH_GETS + BATCH_PUTS
    return requests * (speeds.first_byte + speeds.cpu_file / 2 / speeds.vcpus)


def _billed_seconds(totals: Totals, functions: int, speeds: Speeds, seconds: Seconds) -> float:
    """Return the seconds that Lambda bills: also those of cold starts, of the plan and of the last step."""
    starts = min(functions, totals.batches) * (_start_seconds(speeds) - ENVIRONMENT_SECONDS)
    batches = totals.seconds + totals.batches * _batch_seconds(speeds)
    return starts + batches + seconds.plan + seconds.finish


def _pages(count: int) -> int:
    return -(-count // LIST_PAGE)


def render(found: Estimate) -> str:
    """Return an estimate as lines for a terminal."""
    seconds, dollars = found.seconds, found.dollars
    unit, unit_name = (60, "minutes") if seconds.total >= 60 else (1, "seconds")
    lines = [
        ("files", f"{found.files:,} of {rounded(found.bytes)}, the largest {rounded(found.largest)}"),
        ("batches", f"{found.batches:,} for {found.functions:,} functions of {found.memory_mb:,} MB"),
    ]
    if found.giants:
        lines.append(("cut files", f"{found.giants:,}, which many functions copy together"))
    if found.left_out:
        reasons = (f"{count:,} {reason.replace('_', ' ')}" for reason, count in found.left_out.items())
        lines.append(("left out", ", ".join(reasons)))
    lines += [
        ("time", f"{seconds.total / unit:,.1f} {unit_name}"),
        ("  plan", f"{seconds.plan / unit:,.1f}"),
        ("  start", f"{seconds.start / unit:,.1f}"),
        ("  moving bytes", f"{seconds.moving / unit:,.1f}"),
        ("  between batches", f"{seconds.handing_out / unit:,.1f}"),
        ("  last batches", f"{seconds.tail / unit:,.1f}"),
        ("  finish", f"{seconds.finish / unit:,.1f}"),
        ("cost", f"{_usd(dollars.total)} USD"),
        ("  S3 requests", _usd(dollars.requests)),
        ("  Lambda compute", _usd(dollars.compute)),
        ("  Lambda invocations", _usd(dollars.invocations)),
        ("  Step Functions", _usd(dollars.transitions)),
        ("requests", f"{sum(found.requests.values()):,}"),
    ]
    lines += [(f"  {operation}", f"{count:,}") for operation, count in found.requests.items()]
    lines.append(("prices", found.priced))
    width = max(len(name) for name, _ in lines) + 2
    figures = max(len(text.split()[0]) for name, text in lines if name.startswith("  "))
    return "\n".join(
        f"{name:<{width}}{text:>{figures}}" if name.startswith("  ") else f"{name:<{width}}{text}"
        for name, text in lines
    )


def _usd(usd: float) -> str:
    return f"{usd:,.2f}" if usd >= 0.01 or not usd else f"{usd:.4f}"
