"""Computes rows from runs: medians, costs and ratios. Pure."""

from collections.abc import Iterable, Sequence
from statistics import median

from msgspec import Struct

from asyncstream.lab.report.measurement import Failure, Measured, MemorySample, Pages, Run, Way, Workload
from asyncstream.lab.report.sizing import needed_memory
from asyncstream.prices import Architecture, PriceTable, gb_seconds

# The baselines of ratios, both one by one. For pages it is the usual urllib code, with which the article
# started.
BASELINE_OF_FILES, BASELINE_OF_PAGES = "sequential", "urllib"
# Lambda's names of the errors that end a function.
SHORT = {"Runtime.OutOfMemory": "out of memory", "Sandbox.Timedout": "timed out"}


class Billing(Struct, frozen=True):
    """The prices and the architecture for costs."""

    prices: PriceTable
    architecture: Architecture


class Figures(Struct, frozen=True, kw_only=True):
    """A variant's figures: medians over its successful runs, and maxima for `peak_bytes` and `left_open`.

    Attributes:
        rounds: number of runs in the figures.
        seconds: duration of the invocation; `fastest` and `slowest` are its spread.
        rate: per second: millions of bytes copied, each counted once, or pages gathered.
        cpu_seconds: CPU time of the invocation.
        init_seconds: seconds from the start of its environment until it is ready. None: unknown.
        init_cpu_seconds: CPU time of this start; None: unknown.
        requests: the requests of the run with the median count, by operation; see `Run`.
        faults: injected faults by kind; None: no faults were requested.
        left_open: uploads that a run has neither completed nor aborted.
        needed_mb: the Lambda memory with enough memory and CPU for the run; see `sizing.py`.
        billed_mb: the memory for GB-seconds: the function's size, or `needed_mb` without a limit.
        compute_usd, requests_usd: cost of one run on Lambda and in S3. Requests to the web cost nothing.
        floor_ratio: time divided by the minimum time for the pages; None for files.
        time_ratio, cost_ratio: to `baseline` at the same size, if it was measured.
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
        """The total cost of one run."""
        return self.compute_usd + self.requests_usd

    @property
    def request_count(self) -> int:
        """The number of requests of any kind."""
        return sum(self.requests.values())

    @property
    def fault_count(self) -> int:
        """The number of faults of any kind."""
        return sum((self.faults or {}).values())


class Row(Struct, frozen=True):
    """One variant with one workload at one function size.

    Attributes:
        memory_mb: the function size; None: no limits.
        figures: None if all runs failed.
        errors: the errors of the failed runs.
        run: the successful run with the median duration, for its trace.
        memory: the memory samples of `run`, or of a failed run if none succeeded.
        noise: difference between the medians of a variant measured twice at this size, as a fraction of the
            smaller one; None: not measured. Smaller differences are ties.
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
        """A few words for a row without figures."""
        kind = self.errors[0].partition(":")[0] if self.errors else ""
        return SHORT.get(kind, "failed")


class Section(Struct, frozen=True):
    """One workload and its rows, ordered by variant and then by size."""

    workload: Workload
    rows: list[Row]


def section(workload: Workload, measured: Sequence[Measured], billing: Billing) -> Section:
    """Return the rows of one workload."""
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
        if row.runs and not row.repeat  # an interrupted comparison has no later runs
    ]
    return Section(workload, rows)


def baseline(workload: Workload) -> str:
    """Return the name of the variant that is the baseline of ratios."""
    return BASELINE_OF_PAGES if isinstance(workload, Pages) else BASELINE_OF_FILES


def _noise(measured: Sequence[Measured]) -> dict[int | None, float]:
    """Return the relative difference of the two medians of a variant measured twice, by function size."""
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
    """Return each error once, because rounds usually fail in the same way."""
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
        init_seconds=_median_of_known(run.init_seconds for run in good),
        init_cpu_seconds=_median_of_known(run.init_cpu_seconds for run in good),
        requests=counted.requests,
        faults=counted.faults,
        left_open=max(run.left_open for run in good),
        needed_mb=needed_mb,
        billed_mb=billed_mb,
        gb_seconds=billed,
        compute_usd=billing.prices.compute_usd(billed, billing.architecture),
        requests_usd=0.0 if isinstance(workload, Pages) else billing.prices.requests_usd(counted.requests),
        floor_ratio=seconds / workload.floor if isinstance(workload, Pages) and workload.floor else None,
    )


def _median_of_known(values: Iterable[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return median(known) if known else None


def _against(base: Figures | None, figures: Figures | None) -> Figures | None:
    """Return the figures with their ratios to the baseline's, if there is a baseline."""
    if base is None or figures is None:
        return figures
    values = {name: getattr(figures, name) for name in figures.__struct_fields__}
    cost_ratio = figures.usd / base.usd if base.usd else None
    return Figures(**values | {"time_ratio": figures.seconds / base.seconds, "cost_ratio": cost_ratio})
