"""The report of a hunt as text: tables of uploads and of faults, and every finding."""

from __future__ import annotations

from collections import Counter, defaultdict
from itertools import product
from typing import TYPE_CHECKING

from .choices import ENGINES, KINDS, SERVERS
from .faults import FAULTS
from .judge import FINDINGS, UNPROTECTED

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from .runs import Run

ENDS = ("copied", "skipped", "failed", "pending")
# Among runs with the same findings, this many are described in full.
_SHOWN = 12


def upload_table(runs: Sequence[Run]) -> Iterator[str]:
    """Yield a table with a row for each engine, kind of upload and server, and a row for all."""
    rows: dict[tuple[str, str, str], list[Run]] = defaultdict(list)
    for run in runs:
        rows[run.choices.cell].append(run)
    cells = [["engine", "upload", "server", "runs", *ENDS, *FINDINGS, UNPROTECTED, "slowest"]]
    ordered = (cell for cell in product(ENGINES, KINDS, SERVERS) if cell in rows)
    cells += [[*cell, *_figures(rows[cell])] for cell in ordered]
    cells.append(["all", "", "", *_figures(runs)])
    yield from _lines(cells, texts=3)


def fault_table(runs: Sequence[Run]) -> Iterator[str]:
    """Yield a table with a row for each fault: how often it struck, and how those runs ended."""
    cells = [["fault", "played", "runs", *ENDS, *FINDINGS, UNPROTECTED]]
    played = Counter(fault for run in runs for _, fault, _ in run.played)
    for fault in FAULTS:
        struck = [run for run in runs if any(name == fault for _, name, _ in run.played)]
        cells.append([fault, f"{played[fault]:,}", *_figures(struck)[:-1]])
    calm = [run for run in runs if not run.played]
    cells.append(["none", "", *_figures(calm)[:-1]])
    yield from _lines(cells, texts=1)


def findings_table(runs: Iterable[Run]) -> Iterator[str]:
    """Yield the runs with findings and how to repeat them. Among many alike, only the first are in full."""
    alike: dict[str, list[Run]] = defaultdict(list)
    for run in runs:
        if names := [name for name in FINDINGS if name in run.verdicts]:
            alike[" and ".join(names)].append(run)
    for kinds, found in alike.items():
        yield f"{kinds}: {len(found)} runs"
        yield from map(described, found[:_SHOWN])
        if len(found) > _SHOWN:
            yield f"and seeds {', '.join(str(run.choices.seed) for run in found[_SHOWN:])}"


def described(run: Run) -> str:
    """Describe a run in a few lines: its choices, verdicts, end and faults."""
    choices, ended = run.choices, run.ended
    error = ""
    if ended.error is not None:
        error = f" by {ended.error.kinds[0]}: {'; '.join((ended.error.message, *ended.error.notes))}"
    settings = ", ".join(f"{name}={value!r}" for name, value in choices.settings.items())
    what = f"{choices.size:,} bytes of {choices.bucket}, destination before: {choices.previous}"
    faults = (" ".join((f"{request}: {fault}", where)).strip() for request, fault, where in run.played)
    lines = [
        f"seed {choices.seed}: {' / '.join(choices.cell)}, {what}; {settings}",
        *(f"  {finding}: {reason}" for finding, reason in run.verdicts.items()),
        f"  {ended.status} after {ended.seconds:.2f} s{error}",
        *(f"  warned: {complaint}" for complaint in ended.complaints[1:4]),
        f"  faults: {'; '.join(faults)}",
    ]
    return "\n".join(lines)


def _figures(runs: Sequence[Run]) -> list[str]:
    ends = Counter(run.ended.status for run in runs)
    verdicts = Counter(finding for run in runs for finding in run.verdicts)
    counted = [ends[end] for end in ENDS] + [verdicts[finding] for finding in (*FINDINGS, UNPROTECTED)]
    slowest = max((run.ended.seconds - run.ended.deadline for run in runs), default=0.0)
    return [f"{len(runs):,}", *(f"{count:,}" if count else "-" for count in counted), f"{slowest:+.1f} s"]


def _lines(cells: list[list[str]], texts: int) -> Iterator[str]:
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    for row in cells:
        yield "  ".join(
            cell.ljust(width) if number < texts else cell.rjust(width)
            for number, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
