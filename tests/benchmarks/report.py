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

from tests.benchmarks.peers import LABELS, OURS

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from rich.console import Console

    from tests.benchmarks.measure import Measurement
    from tests.benchmarks.workloads import Target, Workload

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
MIB = 1024 * 1024
REFERENCE_WIDTH = len("upload_fileobj,")  # a heading wraps between words, never within one


@dataclass(frozen=True, slots=True)
class Results:
    """All measurements of one workload: one per round for each peer, in the order of the rounds."""

    workload: Workload
    measured: dict[str, list[Measurement]]

    def figures(self, peer: str) -> list[float]:
        """Return the peer's figures in the workload's unit, one per round."""
        return [self.workload.figure(measurement) for measurement in self.measured[peer]]

    def median(self, peer: str, value: Callable[[Measurement], float]) -> float:
        return statistics.median(map(value, self.measured[peer]))

    def ratio(self, peer: str, reference: str) -> float | None:
        """Return the median of the rounds' ratios; None if the reference was not measured.

        Both peers of a ratio ran in the same round, so a machine that slows down slows both.
        """
        if reference not in self.measured:
            return None
        pairs = zip(self.figures(peer), self.figures(reference), strict=True)
        return statistics.median(ours / theirs for ours, theirs in pairs)

    def verdicts(self, peer: str) -> list[tuple[Target, float, bool]]:
        """Return a peer's targets, the measured ratios, and whether the targets are met."""
        return [
            (target, ratio, self.workload.met(target, ratio))
            for target in self.workload.targets
            if target.peer == peer and (ratio := self.ratio(peer, target.reference)) is not None
        ]


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
    for heading in ("peak MiB", "over idle", "wall s"):
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
    ]


def _number(figure: float) -> str:
    return f"{figure:.0f}" if figure >= 100 else f"{figure:.2f}"


def _verdict(target: Target, ratio: float, met: bool) -> str:
    verdict = "[green]met[/green]" if met else "[red]missed[/red]"
    return f"{ratio:.2f} x {LABELS[target.reference]} (target {target.bound}: {verdict})"


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
                {"reference": target.reference, "bound": target.bound, "ratio": ratio, "met": met}
                for target, ratio, met in results.verdicts(peer)
            ],
            "rounds": [asdict(measurement) for measurement in measurements],
        }
    return {
        "name": workload.name,
        "title": workload.title,
        "unit": workload.unit,
        "count": workload.count,
        "size": workload.size,
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
