"""Runs to rows: medians, money, and ratios. Pure."""

from collections.abc import Iterable, Sequence
from statistics import median

from msgspec import Struct

from asyncstream.lab.report.measurement import Failure, Measured, MemorySample, Pages, Run, Way, Workload
from asyncstream.lab.report.prices import Architecture, PriceTable, gb_seconds
from asyncstream.lab.report.sizing import needed_memory

# What ratios are to: one by one. Of pages as people write it, since that is what the article began with.
BASELINE_OF_FILES, BASELINE_OF_PAGES = "sequential", "urllib"
# Lambda's own names of what ends a function.
SHORT = {"Runtime.OutOfMemory": "out of memory", "Sandbox.Timedout": "timed out"}


class Billing(Struct, frozen=True):
    """How money is counted."""

    prices: PriceTable
    architecture: Architecture


class Figures(Struct, frozen=True, kw_only=True):
    """One way's figures: medians over its good runs, but `peak_bytes` and `left_open`, which are the highest.

    Attributes:
        rounds: how many runs are in the figures.
        seconds: duration of the invocation; `fastest` and `slowest` are its spread.
        rate: of the workload a second: bytes copied, each counted once, in millions, or pages gathered.
        cpu_seconds: CPU time of the invocation.
        init_seconds: from the start of its environment to its readiness; None where nobody tells.
        init_cpu_seconds: CPU time of that; likewise.
        requests: by operation, of the run with the median count; see `Run`.
        faults: by kind, how many of those were made to go wrong; None where faults were no subject.
        left_open: uploads that a run has neither completed nor aborted.
        needed_mb: the Lambda memory that would have had the memory and the CPU; see `sizing.py`.
        billed_mb: what GB-seconds are counted with: the function's size, or what it needs if it had all.
        compute_usd, requests_usd: of one run, on Lambda and in S3. Requests to the web cost nothing.
        floor_ratio: to the least time that the pages of the web take; None of files.
        time_ratio, cost_ratio: to `baseline` in a function of the same size, where that was measured.
    """

    rounds: int
    seconds: float
    fastest: float
    slowest: float
    rate: float
    peak_bytes: int
    cpu_seconds: float
    init_seconds: float | None
    init_cpu_seconds: float | None
    requests: dict[str, int]
    faults: dict[str, int] | None
    left_open: int
    needed_mb: int
    billed_mb: int
    gb_seconds: float
    compute_usd: float
    requests_usd: float
    floor_ratio: float | None = None
    time_ratio: float | None = None
    cost_ratio: float | None = None

    @property
    def usd(self) -> float:
        """What one run costs in all."""
        return self.compute_usd + self.requests_usd

    @property
    def request_count(self) -> int:
        """Requests of any kind."""
        return sum(self.requests.values())

    @property
    def fault_count(self) -> int:
        """Faults of any kind."""
        return sum((self.faults or {}).values())


class Row(Struct, frozen=True):
    """One way over one workload in one size of function: its figures, unless all failed, and what failed.

    `run` is the good run of the median duration, for its memory samples and its trace. `memory` are those
    samples, or, where no run was good, what was sampled until the function failed. `noise` is how far apart
    the medians of one way measured twice in functions of this size came out, as a fraction of the smaller
    one; None where nothing was. Differences below it are ties.
    """

    way: Way
    memory_mb: int | None
    figures: Figures | None
    errors: list[str]
    run: Run | None = None
    memory: list[MemorySample] = []
    noise: float | None = None

    @property
    def short(self) -> str:
        """What a row without figures has instead, in a few words."""
        kind = self.errors[0].partition(":")[0] if self.errors else ""
        return SHORT.get(kind, "failed")


class Section(Struct, frozen=True):
    """One workload and its rows, in the order they were asked for: ways, and of each its sizes."""

    workload: Workload
    rows: list[Row]


def section(workload: Workload, measured: Sequence[Measured], billing: Billing) -> Section:
    """The rows of one workload."""
    figures = {
        (row.way.name, row.memory_mb): _figures(row, workload, billing) for row in measured if not row.repeat
    }
    noise = _noise(measured)
    rows = [
        Row(
            row.way,
            row.memory_mb,
            _against(figures.get((baseline(workload), row.memory_mb)), figures[row.way.name, row.memory_mb]),
            _errors(row.runs),
            _median_run(row.runs),
            _memory(row.runs),
            noise.get(row.memory_mb),
        )
        for row in measured
        if row.runs and not row.repeat  # an interrupted comparison has none of the later ones
    ]
    return Section(workload, rows)


def baseline(workload: Workload) -> str:
    """The name of the way that ratios are to."""
    return BASELINE_OF_PAGES if isinstance(workload, Pages) else BASELINE_OF_FILES


def _noise(measured: Sequence[Measured]) -> dict[int | None, float]:
    """How far apart the two medians of what was measured twice are, for each size of function."""
    once = {(row.way.name, row.memory_mb): _good(row.runs) for row in measured if not row.repeat}
    differences = {}
    for row in measured:
        again = _good(row.runs)
        first = once.get((row.way.name, row.memory_mb), [])
        if row.repeat and first and again:
            seconds = sorted(median(run.seconds for run in runs) for runs in (first, again))
            differences[row.memory_mb] = seconds[1] / seconds[0] - 1
    return differences


def _good(runs: Sequence[Run | Failure]) -> list[Run]:
    return [run for run in runs if isinstance(run, Run)]


def _median_run(runs: Sequence[Run | Failure]) -> Run | None:
    good = sorted(_good(runs), key=lambda run: run.seconds)
    return good[(len(good) - 1) // 2] if good else None


def _memory(runs: Sequence[Run | Failure]) -> list[MemorySample]:
    good = _median_run(runs)
    return good.memory if good else next((run.memory for run in runs if run.memory), [])


def _errors(runs: Sequence[Run | Failure]) -> list[str]:
    """Each error once: rounds mostly fail alike."""
    return list(dict.fromkeys(run.error for run in runs if isinstance(run, Failure)))


def _figures(measured: Measured, workload: Workload, billing: Billing) -> Figures | None:
    good = _good(measured.runs)
    if not good:
        return None
    seconds = median(run.seconds for run in good)
    cpu_seconds = median(run.cpu_seconds for run in good)
    peak_bytes = max(run.peak_bytes for run in good)
    counted = sorted(good, key=lambda run: sum(run.requests.values()))[len(good) // 2]
    needed_mb = needed_memory(peak_bytes, cpu_seconds, seconds)
    billed_mb = measured.memory_mb or needed_mb
    billed = gb_seconds(billed_mb, seconds)
    return Figures(
        rounds=len(good),
        seconds=seconds,
        fastest=min(run.seconds for run in good),
        slowest=max(run.seconds for run in good),
        rate=workload.amount / seconds,
        peak_bytes=peak_bytes,
        cpu_seconds=cpu_seconds,
        init_seconds=_median_of_told(run.init_seconds for run in good),
        init_cpu_seconds=_median_of_told(run.init_cpu_seconds for run in good),
        requests=counted.requests,
        faults=counted.faults,
        left_open=max(run.left_open for run in good),
        needed_mb=needed_mb,
        billed_mb=billed_mb,
        gb_seconds=billed,
        compute_usd=billing.prices.of_compute(billed, billing.architecture),
        requests_usd=0.0 if isinstance(workload, Pages) else billing.prices.of_requests(counted.requests),
        floor_ratio=seconds / workload.floor if isinstance(workload, Pages) and workload.floor else None,
    )


def _median_of_told(values: Iterable[float | None]) -> float | None:
    told = [value for value in values if value is not None]
    return median(told) if told else None


def _against(base: Figures | None, figures: Figures | None) -> Figures | None:
    """The figures with their ratios to the baseline's, if there is one to compare with."""
    if base is None or figures is None:
        return figures
    values = {name: getattr(figures, name) for name in figures.__struct_fields__}
    cost_ratio = figures.usd / base.usd if base.usd else None
    return Figures(**values | {"time_ratio": figures.seconds / base.seconds, "cost_ratio": cost_ratio})
