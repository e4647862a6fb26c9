"""The figures of a run: medians and ratios, as a table in the terminal, a JSON file and a plot."""

from __future__ import annotations

import json
import os
import platform
import statistics
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich import box
from rich.table import Table

from tests.benchmarks.peers import OURS
from tests.benchmarks.targets import MIB, Target, compared, gets, puts, usd
from tests.benchmarks.ways import LABELS

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from rich.console import Console

    from tests.benchmarks.measure import Measurement
    from tests.benchmarks.targets import Metric
    from tests.benchmarks.workloads import Workload

PACKAGES = (
    "aioboto3",
    "aiobotocore",
    "aiohttp",
    "anyio",
    "boto3",
    "botocore",
    "isal",
    "obstore",
    "urllib3",
    "uvloop",
)
REFERENCE_WIDTH = len("upload_fileobj,")  # a heading wraps between words, never within one


@dataclass(frozen=True, slots=True)
class Results:
    """All measurements of one workload: one per round for each peer, in the order of the rounds."""

    workload: Workload
    measured: dict[str, list[Measurement]]

    def figures(self, peer: str, metric: Metric = "cost") -> list[float]:
        """Return a metric of the peer, one figure per round. The cost is in the workload's unit."""
        return [self.workload.figure(measurement, metric) for measurement in self.measured[peer]]

    def median(self, peer: str, value: Callable[[Measurement], float]) -> float:
        return statistics.median(map(value, self.measured[peer]))

    def ratio(self, peer: str, reference: str) -> float | None:
        """Return the median of the rounds' ratios; None if the reference was not measured.

        Both peers of a ratio ran in the same round, so a machine that slows down slows both.
        """
        if reference not in self.measured:
            return None
        return self._compared(Target(peer, reference, 0.0))

    def verdicts(self, peer: str) -> list[tuple[Target, float, bool]]:
        """Return a peer's targets, what was measured, and whether the targets are met."""
        return [
            (target, measured, self.workload.met(target, measured))
            for target in self.workload.targets
            if target.peer == peer and (target.reference is None or target.reference in self.measured)
            for measured in [self._compared(target)]
        ]

    def _compared(self, target: Target) -> float:
        """Return the median of the rounds' comparisons."""
        figures = self.figures(target.peer, target.metric)
        others = self.figures(target.reference or target.peer, target.metric)
        pairs = zip(figures, others, strict=True)
        return statistics.median(compared(target, own, other) for own, other in pairs)


def show(results: Results, console: Console) -> None:
    """Print a workload's table, and below it whether the targets are met."""
    workload = results.workload
    references = [name for name in workload.references if name in results.measured]
    table = Table(title=f"{workload.title}: {workload.unit}, {_better(workload)} is better", box=box.SIMPLE)
    table.add_column("way", no_wrap=True)
    table.add_column("median", justify="right", no_wrap=True)
    table.add_column("range", justify="right", no_wrap=True)
    for name in references:
        table.add_column(f"x {LABELS[name]}", justify="right", min_width=REFERENCE_WIDTH)
    for heading in (
        "peak MiB",
        "over idle",
        "wall s",
        *(("GETs", "PUTs", "USD/1,000") if workload.priced else ()),
    ):
        table.add_column(heading, justify="right")
    for peer in results.measured:
        table.add_row(*_row(results, peer, references), style="bold" if peer in OURS else "")
    console.print(table)
    for peer in results.measured:
        if verdicts := results.verdicts(peer):
            console.print(f"{LABELS[peer]}: " + ", ".join(_verdict(*verdict) for verdict in verdicts))


def write(
    runs: Sequence[Results], more: dict[str, Any], settings: dict[str, Any], directory: Path
) -> list[Path]:
    """Write the JSON file (workloads and `more`) and, if there are runs, the plot; return their paths."""
    directory.mkdir(exist_ok=True)
    document, plot = directory / "benchmarks.json", directory / "benchmarks.png"
    workloads = [_document(run) for run in runs]
    content = {"machine": machine(), "settings": settings, "workloads": workloads, **more}
    document.write_text(json.dumps(content, indent=2) + "\n")
    if not runs:
        return [document]
    _draw(runs, plot)
    return [document, plot]


def machine() -> dict[str, Any]:
    """Describe the machine and the packages that the figures depend on."""
    return {
        "when": datetime.now(UTC).isoformat(timespec="seconds"),
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.release()}",
        "processor": _processor(),
        "cpus": os.cpu_count(),
        "load": [round(load, 2) for load in os.getloadavg()],
        "packages": {name: _version(name) for name in PACKAGES},
    }


def _better(workload: Workload) -> str:
    return "less" if workload.less_is_better else "more"


def _row(results: Results, peer: str, references: Sequence[str]) -> list[str]:
    figures = results.figures(peer)
    ratios = [results.ratio(peer, reference) for reference in references]
    peak = results.median(peer, lambda one: one.peak_bytes)
    idle = results.median(peer, lambda one: one.idle_bytes)
    return [
        LABELS[peer],
        _number(statistics.median(figures)),
        f"{_number(min(figures))}-{_number(max(figures))}",
        *("" if ratio is None else f"{ratio:.2f}" for ratio in ratios),
        f"{peak / MIB:.0f}",
        f"{(peak - idle) / MIB:+.0f}",
        f"{results.median(peer, lambda one: one.wall_seconds):.2f}",
        *(_requests(results, peer) if results.workload.priced else ()),
    ]


def _requests(results: Results, peer: str) -> list[str]:
    """Return the numbers of requests priced as GETs and as PUTs, and the price of a thousand runs."""
    dear = results.median(peer, lambda one: usd(one, has_network=results.workload.model != "off"))
    return [
        f"{results.median(peer, lambda one: gets(one.requests)):,.0f}",
        f"{results.median(peer, lambda one: puts(one.requests)):,.0f}",
        f"{dear:.2f}",
    ]


def _number(figure: float) -> str:
    return f"{figure:.0f}" if figure >= 100 else f"{figure:.2f}"


def _verdict(target: Target, measured: float, met: bool) -> str:
    verdict = "[green]met[/green]" if met else "[red]missed[/red]"
    metric = "" if target.metric == "cost" else f" {target.metric}"
    if target.reference is None:
        return f"{_number(measured)}{metric} (target {target.bound:g}: {verdict})"
    reference = LABELS[target.reference]
    if target.comparison == "difference":
        return f"{measured:+.0f}{metric} to {reference} (target {target.bound:+g}: {verdict})"
    return f"{measured:.2f} x {reference}{metric and ',' + metric} (target {target.bound:g}: {verdict})"


def _document(results: Results) -> dict[str, Any]:
    workload = results.workload
    peers = {}
    for peer, measurements in results.measured.items():
        figures = results.figures(peer)
        peers[peer] = {
            "label": LABELS[peer],
            "median": statistics.median(figures),
            "min": min(figures),
            "max": max(figures),
            "ratios": {name: results.ratio(peer, name) for name in workload.references},
            "targets": [
                {**asdict(target), "measured": measured, "met": met}
                for target, measured, met in results.verdicts(peer)
            ],
            "rounds": [asdict(measurement) for measurement in measurements],
        }
    return {
        "name": workload.name,
        "title": workload.title,
        "unit": workload.unit,
        "count": workload.count,
        "size": workload.size,
        "model": workload.model,
        "peers": peers,
    }


def _draw(runs: Sequence[Results], path: Path) -> None:
    import matplotlib as mpl  # noqa: PLC0415 - slow to import

    mpl.use("Agg")
    from matplotlib import pyplot  # noqa: PLC0415

    figure, axes = pyplot.subplots(
        len(runs), 2, figsize=(14, 4.2 * len(runs)), squeeze=False, layout="constrained"
    )
    for (cost, memory), results in zip(axes, runs, strict=True):
        _draw_cost(cost, results)
        _draw_memory(memory, results)
    figure.suptitle("asyncstream and other ways to copy the same bytes", fontsize=14)
    figure.savefig(path, dpi=130)
    pyplot.close(figure)


def _draw_cost(axes: Any, results: Results) -> None:
    peers = list(results.measured)
    medians = [statistics.median(results.figures(peer)) for peer in peers]
    lows = [median - min(results.figures(peer)) for peer, median in zip(peers, medians, strict=True)]
    highs = [max(results.figures(peer)) - median for peer, median in zip(peers, medians, strict=True)]
    axes.barh(_labels(peers), medians, xerr=[lows, highs], capsize=3, color=_colours(peers))
    tops = [median + high for median, high in zip(medians, highs, strict=True)]
    for row, (median, top) in enumerate(zip(medians, tops, strict=True)):
        axes.text(top, row, f"  {_number(median)}", va="center", fontsize=9)
    axes.set_xlim(0, max(tops) * 1.15)
    workload = results.workload
    axes.set_title(f"{workload.title}\n{workload.unit}: median and range, {_better(workload)} is better")
    axes.invert_yaxis()


def _draw_memory(axes: Any, results: Results) -> None:
    peers = list(results.measured)
    peaks = [results.median(peer, lambda one: one.peak_bytes / MIB) for peer in peers]
    idle = [results.median(peer, lambda one: one.idle_bytes / MIB) for peer in peers]
    axes.barh(_labels(peers), peaks, color=_colours(peers))
    axes.barh(_labels(peers), idle, color="black", alpha=0.25)
    for row, peak in enumerate(peaks):
        axes.text(peak, row, f"  {peak:.0f}", va="center", fontsize=9)
    axes.set_xlim(0, max(peaks) * 1.15)
    axes.set_yticks([])
    axes.set_title(
        "peak memory (VmHWM), MiB: median, less is better\ndarker: resident before the first request"
    )
    axes.invert_yaxis()


def _labels(peers: Sequence[str]) -> list[str]:
    return [LABELS[peer] for peer in peers]


def _colours(peers: Sequence[str]) -> list[str]:
    return [
        "tab:green" if peer in OURS else "tab:gray" if peer == "sockets" else "tab:blue" for peer in peers
    ]


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None
