"""`make hunt`: transfers by every engine, upload and server, through a proxy that plays random faults.

A judge that shares no code with asyncstream checks each transfer. The hunt fails in these cases:

- a copy is wrong or short although the server sent a checksum or a size,
- a transfer returns late, or leaves an upload that its result does not name,
- an error is not one of asyncstream's own, or
- Python or a library warns.

`--only SEED ...` repeats runs.
"""

from __future__ import annotations

import argparse
import sys
import time
from typing import TYPE_CHECKING

from . import tables
from .choices import COPIES
from .judge import FINDINGS, Storage
from .sites import servers
from .workers import run_all

if TYPE_CHECKING:
    from collections.abc import Mapping

    from .runs import Run

# Number of run seeds that each `--seed` has.
_SEEDS = 1_000_000
# Seconds in which late runs are repeated.
_AGAIN_SECONDS = 300.0


def main() -> int:
    """Run the hunt; return 1 if the judge found anything."""
    options = _options()
    first = options.seed * _SEEDS
    seeds = options.only or list(range(first, first + options.runs))
    runs: list[Run] = []
    started = time.monotonic()

    def show(run: Run) -> None:
        runs.append(run)
        if options.only or run.verdicts.keys() & set(FINDINGS):
            _say(tables.described(run))
        if not options.only and (len(runs) % 50 == 0 or len(runs) == len(seeds)):
            found = sum(bool(each.verdicts.keys() & set(FINDINGS)) for each in runs)
            seconds = time.monotonic() - started
            _say(f"{len(runs):,} of {len(seeds):,} runs, {found} with findings, {seconds:.0f} s")

    with servers() as urls:
        run_all(seeds, urls, min(options.workers, len(seeds)), show, started + 60 * options.minutes)
        runs.sort(key=lambda run: run.choices.seed)
        if not options.only:
            _report(runs, len(seeds))
        busy = _late_by_chance(runs, urls)
        left = [(name, key) for name, url in urls.items() for key, _ in Storage(url).uploads(COPIES)]
    for name, key in left:
        _say(f"upload left on {name} at the end: {key}")
    guilty = [
        run for run in runs if run.verdicts.keys() & set(FINDINGS) - ({"late"} if run in busy else set())
    ]
    _say(f"{len(runs):,} runs, {len(guilty):,} with findings")
    return 1 if guilty or left or len(runs) < len(seeds) else 0


def _late_by_chance(runs: list[Run], urls: Mapping[str, str]) -> list[Run]:
    """Repeat the late runs, two at a time; return those that are in time when repeated.

    A busy machine can make any run late. A cause in the code makes it late again.
    """
    late = {run.choices.seed: run for run in runs if "late" in run.verdicts}
    by_chance: list[Run] = []

    def show(again: Run) -> None:
        if "late" not in again.verdicts:
            by_chance.append(late[again.choices.seed])

    run_all(late, urls, min(2, len(late)), show, time.monotonic() + _AGAIN_SECONDS)
    if late:
        seeds = ", ".join(str(run.choices.seed) for run in by_chance)
        _say(f"{len(late)} runs were late; {len(by_chance)} of them in time when repeated: {seeds}")
    return by_chance


def _report(runs: list[Run], asked: int) -> None:
    _say("")
    for table in (tables.upload_table(runs), tables.fault_table(runs), tables.findings_table(runs)):
        for line in table:
            _say(line)
        _say("")
    if len(runs) < asked:
        _say(f"{asked - len(runs):,} runs did not start in time. Raise --minutes.")


def _say(line: str) -> None:
    print(line, flush=True)  # noqa: T201 - a command line


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="make hunt", description=__doc__)
    parser.add_argument("--runs", type=int, default=3000, help="default: %(default)s")
    parser.add_argument("--minutes", type=float, default=40, help="no run begins later; default: %(default)s")
    parser.add_argument("--seed", type=int, default=1, help="of all choices and faults; default: %(default)s")
    parser.add_argument("--workers", type=int, default=6, help="runs at once; default: %(default)s")
    parser.add_argument(
        "--only", type=int, nargs="+", metavar="SEED", help="repeat the runs of these seeds only"
    )
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
