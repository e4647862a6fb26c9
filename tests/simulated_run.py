"""A run, simulated at the level of requests: another way to the figures that `estimating.py` computes.

It shares no formula with the model. Each function has slots, connections of limited rate, a card that its
connections share fairly, and a share of a CPU that its requests and its bytes share fairly. Waits for first
bytes are drawn. All is seeded, and the clock is simulated.
"""

import math
import random
from collections import Counter, deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from heapq import heapify, heappop, heappush, heapreplace
from itertools import pairwise
from typing import Literal, NamedTuple

from asyncstream.prices import PriceTable
from asyncstream.runs.batching import Batch
from asyncstream.runs.rows import Row


class Machine(NamedTuple):
    """What a function and S3 can do.

    Attributes:
        memory_mb: MB; 1,769 are a vCPU.
        slots: connections at once.
        stream, card: bytes per second of one connection, and of all, each way.
        first_byte: median seconds until a reply starts.
        sigma: the standard deviation of the logarithm of these seconds.
        request_cpu: CPU seconds of a request.
        byte_cpu: CPU seconds of a byte that is read and written.
        entry_cpu: CPU seconds of an entry of an archive.
        inflate_cpu: CPU seconds of an inflated byte.
        part: most bytes of one request of a file that is not a giant.
        throttled: the share of requests that S3 refuses with SlowDown; they are sent again.
    """

    memory_mb: int = 512
    slots: int = 10
    stream: float = 53e6
    card: float = 74e6
    first_byte: float = 0.025
    sigma: float = 0.3
    request_cpu: float = 0.0015
    byte_cpu: float = 2.84e-9
    entry_cpu: float = 0.0015
    inflate_cpu: float = 1.4e-9
    part: int = 512 * 2**20
    throttled: float = 0.0


class Entry(NamedTuple):
    """A file in an archive: its bytes there, and after inflating."""

    stored: int
    decoded: int


DEFAULT = Machine()
# A batch that takes longer is not like the others: no ratio of theirs is right for it.
UNUSUAL_SECONDS = 120.0

# A step of a task, and how much it takes: seconds to wait, CPU seconds, or bytes.
Step = tuple[Literal["wait", "cpu", "move"], float]
Task = Iterator[Step]


class Simulated(NamedTuple):
    """A simulated run.

    Attributes:
        seconds: from the start of the functions until the last one ends.
        batch_seconds: how long each batch took in its function.
        requests: requests by operation, without those of plan and last step.
        transitions: state transitions of the batches.
        gb_seconds: billed compute.
        usd: what requests, compute, invocations and transitions cost.
        exact: how many of the batches were simulated by themselves.
    """

    seconds: float
    batch_seconds: Sequence[float]
    requests: Mapping[str, int]
    transitions: int
    gb_seconds: float
    usd: float
    exact: int


class Worker:
    """Simulates batches on one function."""

    def __init__(self, machine: Machine, seed: int, contents: Mapping[str, Sequence[Entry]]) -> None:
        self._machine = machine
        self._random = random.Random(seed)
        self._contents = contents
        self.requests: Counter[str] = Counter()

    def batch_seconds(self, rows: Iterable[Row]) -> float:
        """Return how long a batch takes: no outcome is there, the run, its rows, the files, the outcome."""
        operations = ["GetObject"] * 4 + ["PutObject"]
        around = [self._ask(operation) for operation in operations]
        alone = run_tasks(self._machine, [iter([step for steps in around for step in steps])])
        return alone + run_tasks(self._machine, (task for row in rows for task in self._tasks(row)))

    def _ask(self, operation: str) -> list[Step]:
        """Return the steps of a request until its reply starts; S3 may refuse it first."""
        steps: list[Step] = []
        machine, attempt = self._machine, 0
        while True:
            self.requests[operation] += 1
            wait = machine.first_byte * math.exp(self._random.gauss(0, machine.sigma))
            steps += [("cpu", machine.request_cpu), ("wait", wait)]
            if self._random.random() >= machine.throttled:
                return steps
            attempt += 1
            steps.append(("wait", self._random.uniform(0, min(0.1 * 2**attempt, 5))))

    def _tasks(self, row: Row) -> Iterator[Task]:
        """Return what the slots do for a row, each task in one slot."""
        if row.entries is not None:
            entries = self._contents[row.source]
            yield from (self._entry(entry, number % 64 == 0) for number, entry in enumerate(entries))
        elif row.continuation is not None:
            only = row.continuation.only
            assert only is not None
            yield iter(self._ask("ListParts"))
            for number in range(only[0], only[1] + 1):
                yield self._copy(row.continuation.part_plan.range(number).length, "UploadPart")
        else:
            assert row.size is not None
            yield from self._file(row.size)

    def _file(self, size: int) -> Iterator[Task]:
        """Return the tasks of a file: a stream, or parts, of which one slot or any slot takes each."""
        parts = math.ceil(size / self._machine.part)
        if parts <= 1:
            yield self._copy(size, "PutObject")
            return
        edges = [size * at // parts for at in range(parts + 1)]
        tasks = [
            iter(self._ask("CreateMultipartUpload")),
            *(self._copy(stop - start, "UploadPart") for start, stop in pairwise(edges)),
            iter(self._ask("CompleteMultipartUpload")),
        ]
        yield from tasks

    def _copy(self, length: int, operation: str) -> Task:
        """The body of the GET is that of the PUT, whose reply starts after its last byte."""
        yield from self._ask("GetObject")
        *work, reply = self._ask(operation)
        yield from work
        yield ("move", length)
        yield reply

    def _entry(self, entry: Entry, reads: bool) -> Task:
        """Every 64th entry waits for a GET that the following ones share."""
        if reads:
            yield from self._ask("GetObject")
        *_, reply = self._ask("PutObject")
        inflating = entry.decoded * self._machine.inflate_cpu if entry.stored < entry.decoded else 0.0
        yield ("cpu", self._machine.entry_cpu + inflating)
        yield ("move", entry.decoded)
        yield reply


def run_tasks(machine: Machine, tasks: Iterable[Task]) -> float:
    """Return when the last task ends. Each slot takes the next task when it is free.

    All connections that move bytes have the same rate, and so have all that compute. So each kind has a clock
    of its own, which tells how much each one of its kind has done, and an event is the next end of any step.
    """
    cpu, waiting_tasks = machine.memory_mb / 1769, iter(tasks)
    now, number = 0.0, 0
    done = {"wait": 0.0, "cpu": 0.0, "move": 0.0}
    ends: dict[str, list[tuple[float, int, Task]]] = {"wait": [], "cpu": [], "move": []}

    def go_on(task: Task | None) -> None:
        """Start the next step of a task, or of the next task."""
        nonlocal number
        step = next(task, None) if task is not None else None
        while step is None:
            task = next(waiting_tasks, None)
            if task is None:
                return
            step = next(task, None)
        assert task is not None
        kind, amount = step
        number += 1
        heappush(ends[kind], (done[kind] + amount, number, task))

    for _ in range(machine.slots):
        go_on(None)
    while any(ends.values()):
        rates = _rates(machine, cpu, len(ends["cpu"]), len(ends["move"]))
        in_seconds, kind = min(
            ((heap[0][0] - done[each]) / rates[each], each) for each, heap in ends.items() if heap
        )
        now += in_seconds
        for each in done:
            done[each] += in_seconds * rates[each]
        end, _, task = heappop(ends[kind])
        done[kind] = end
        go_on(task)
    return now


def _rates(machine: Machine, cpu: float, computing: int, moving: int) -> dict[str, float]:
    """Return the rate of a wait, a computation and a connection; the CPU is shared fairly between all."""
    rates = {"wait": 1.0, "cpu": 1.0, "move": 1.0}
    byte = min(machine.stream, machine.card / moving) if moving else 0.0
    share = cpu / max(computing + moving, 1)
    if moving and machine.byte_cpu:
        byte = min(
            byte, max(share, (cpu - computing) / moving if computing else cpu / moving) / machine.byte_cpu
        )
    if computing:
        rates["cpu"] = min((cpu - moving * byte * machine.byte_cpu) / computing, 1.0)
    if moving:
        rates["move"] = byte
    return rates


def simulate(
    batches: Iterable[Batch],
    functions: int,
    prices: PriceTable,
    machine: Machine = DEFAULT,
    contents: Mapping[str, Sequence[Entry]] | None = None,
    seed: int = 0,
    sample: int = 1,
) -> Simulated:
    """Return a simulated run: functions take the batches in turn.

    Args:
        batches: the batches of a plan, which may be made one after the other.
        functions: how many functions run at once.
        prices: what things cost.
        machine: what each function can do.
        contents: the entries of archives, by source.
        seed: chooses all random numbers.
        sample: if over 1, only one of so many batches is simulated by itself, and all that take over two
            minutes. Each other takes as long as the model says, times the ratio that a batch of the sample
            had, which is drawn. Requests are scaled.
    """
    drawn = random.Random(seed)
    ratios: deque[float] = deque(maxlen=1000)
    sampled: Counter[str] = Counter()
    unusual: Counter[str] = Counter()
    taken: list[float] = []
    exact = samples = unlike = 0
    for at, batch in enumerate(batches):
        is_long = sample > 1 and batch.seconds > UNUSUAL_SECONDS
        if not is_long and at % sample:
            # The first batch may be a long one.
            taken.append(batch.seconds * (drawn.choice(ratios) if ratios else 1.0))
            continue
        worker = Worker(machine, seed + at, contents or {})
        taken.append(worker.batch_seconds(batch.rows))
        exact += 1
        if is_long:
            unlike += 1
            unusual.update(worker.requests)
            continue
        samples += 1
        sampled.update(worker.requests)
        ratios.append(taken[-1] / batch.seconds)
    factor = (len(taken) - unlike) / samples if samples else 0.0
    requests = {name: unusual[name] + round(sampled[name] * factor) for name in sorted({*sampled, *unusual})}
    return _run(taken, functions, prices, machine, requests, drawn, exact)


def _run(
    taken: Sequence[float],
    functions: int,
    prices: PriceTable,
    machine: Machine,
    requests: Mapping[str, int],
    drawn: random.Random,
    exact: int,
) -> Simulated:
    """Hand the batches out. Lambda starts 1,000 environments every ten seconds."""
    importing = 0.213 / min(machine.memory_mb / 1769, 1)
    free = [
        10.0 * (at // 1000) + 0.3 * math.exp(drawn.gauss(0, 0.3)) + importing
        for at in range(min(functions, len(taken)))
    ]
    billed = importing * len(free) + sum(taken)
    heapify(free)
    for seconds in taken:
        heapreplace(free, free[0] + 0.2 * math.exp(drawn.gauss(0, 0.3)) + seconds)
    transitions = 3 * len(taken)
    gb_seconds = billed * machine.memory_mb / 1024
    usd = (
        gb_seconds * prices.gb_second["arm64"]
        + len(taken) * prices.million_invocations / 1e6
        + transitions * (prices.thousand_transitions or 0) / 1000
        + prices.requests_usd(requests)
    )
    return Simulated(max(free), taken, requests, transitions, gb_seconds, usd, exact)
