"""Runs to rows: medians, money, and ratios; pure, called by `asyncstream.lab.compare`."""

from collections.abc import Sequence
from statistics import median

from msgspec import Struct

from asyncstream.report.measurement import Failure, Measured, Run, Way, Workload
from asyncstream.report.prices import Architecture, PriceTable, gb_seconds
from asyncstream.report.sizing import needed_memory

BASELINE = "sequential"


class Billing(Struct, frozen=True):
    """How money is counted. `memory_mb` is what every way is billed; None: what each one needs."""

    prices: PriceTable
    architecture: Architecture
    memory_mb: int | None = None


class Figures(Struct, frozen=True, kw_only=True):
    """One way's figures: medians over its good runs, but `peak_bytes`, which is the highest.

    Attributes:
        rounds: how many runs are in the figures.
        seconds: wall time of the handler's call; `fastest` and `slowest` are its spread.
        megabytes_per_second: bytes copied, each counted once, in millions a second.
        cpu_seconds: CPU time of the call.
        import_cpu_seconds: CPU time of the cold import before the call.
        requests: S3 requests by operation, of the run with the median count.
        needed_mb: the Lambda memory that would have had the memory and the CPU; see `sizing.py`.
        billed_mb: what GB-seconds are counted with.
        compute_usd, requests_usd: of one run, on Lambda and in S3.
        time_ratio, cost_ratio: to the sequential way, where that was measured.
    """

    rounds: int
    seconds: float
    fastest: float
    slowest: float
    megabytes_per_second: float
    peak_bytes: int
    cpu_seconds: float
    import_cpu_seconds: float
    requests: dict[str, int]
    needed_mb: int
    billed_mb: int
    gb_seconds: float
    compute_usd: float
    requests_usd: float
    time_ratio: float | None = None
    cost_ratio: float | None = None

    @property
    def usd(self) -> float:
        """What one run costs in all."""
        return self.compute_usd + self.requests_usd

    @property
    def request_count(self) -> int:
        """S3 requests of any kind."""
        return sum(self.requests.values())


class Row(Struct, frozen=True):
    """One way over one workload: its figures, unless every run failed, and what failed."""

    way: Way
    figures: Figures | None
    errors: list[str]


class Section(Struct, frozen=True):
    """One workload and its rows, in the order they were asked for."""

    workload: Workload
    rows: list[Row]


def section(workload: Workload, measured: Sequence[Measured], billing: Billing) -> Section:
    """The rows of one workload."""
    figures = {row.way.name: _figures(row.runs, workload, billing) for row in measured}
    base = figures.get(BASELINE)
    rows = [
        Row(row.way, _against(base, figures[row.way.name]), _errors(row.runs))
        for row in measured
        if row.runs  # an interrupted comparison has none of the later ones
    ]
    return Section(workload, rows)


def _errors(runs: Sequence[Run | Failure]) -> list[str]:
    """Each error once: rounds mostly fail alike."""
    return list(dict.fromkeys(run.error for run in runs if isinstance(run, Failure)))


def _figures(runs: Sequence[Run | Failure], workload: Workload, billing: Billing) -> Figures | None:
    good = [run for run in runs if isinstance(run, Run)]
    if not good:
        return None
    seconds = median(run.seconds for run in good)
    cpu_seconds = median(run.cpu_seconds for run in good)
    peak_bytes = max(run.peak_bytes for run in good)
    requests = sorted((run.requests for run in good), key=lambda each: sum(each.values()))[len(good) // 2]
    needed_mb = needed_memory(peak_bytes, cpu_seconds, seconds)
    billed_mb = billing.memory_mb or needed_mb
    billed = gb_seconds(billed_mb, seconds)
    return Figures(
        rounds=len(good),
        seconds=seconds,
        fastest=min(run.seconds for run in good),
        slowest=max(run.seconds for run in good),
        megabytes_per_second=workload.bytes / seconds / 1e6,
        peak_bytes=peak_bytes,
        cpu_seconds=cpu_seconds,
        import_cpu_seconds=median(run.import_cpu_seconds for run in good),
        requests=requests,
        needed_mb=needed_mb,
        billed_mb=billed_mb,
        gb_seconds=billed,
        compute_usd=billing.prices.of_compute(billed, billing.architecture),
        requests_usd=billing.prices.of_requests(requests),
    )


def _against(base: Figures | None, figures: Figures | None) -> Figures | None:
    """The figures with their ratios to the baseline's, if there is one to compare with."""
    if base is None or figures is None:
        return figures
    values = {name: getattr(figures, name) for name in figures.__struct_fields__}
    cost_ratio = figures.usd / base.usd if base.usd else None
    return Figures(**values | {"time_ratio": figures.seconds / base.seconds, "cost_ratio": cost_ratio})
