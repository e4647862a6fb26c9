"""Replies of the steps of a run, for the state machine of `deploy/template.yaml`. Does no I/O.

The state machine keeps them in its state, so they are small: counts, a position, and the first errors only
where no state follows.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from asyncstream.errors import FilesFailed, encodable
from asyncstream.runs.estimating import Estimate
from asyncstream.runs.finishing import AbortReport, FinishReport
from asyncstream.runs.outcomes import BatchOutcome, RowLeft
from asyncstream.runs.places import Run
from asyncstream.runs.planning import PlanProgress

# An execution's Cause may have 32,768 characters: JSON of the error's message, type and stack trace, written
# by Lambda's runtime client. In it a byte of the message takes at most three characters: two bytes (ä) take
# six (\u00e4), four bytes (an emoji) take twelve. From Python 3.12 on, the client does not escape them.
MAX_FAILURE_BYTES = 8_000
# Characters of one failure, and failures that the reply of a batch names.
MAX_MESSAGE = 300
MAX_NAMED = 5
# Seconds before a batch is run again, after its first run, its second, and so on, if only failures are left
# that may not occur again.
WAITS = (5, 15, 45)


def plan_reply(run: Run, progress: PlanProgress) -> Mapping[str, Any]:
    """Return how far a plan is, and where the list of its batches is."""
    return {
        "run": run.uri,
        "pending": progress.position is not None,
        "position": _position(progress.position),
        "batches": progress.totals.batches,
        "todo": _todo(run),
        "totals": msgspec.to_builtins(progress.totals),
    }


def estimate_reply(estimate: Estimate) -> Mapping[str, Any]:
    """Return how far an estimate is, and its figures."""
    return {
        "pending": estimate.position is not None,
        "position": _position(estimate.position),
        "estimate": dict(estimate.figures),
    }


def batch_reply(uri: str, outcome: BatchOutcome) -> Mapping[str, Any]:
    """Return whether, and after how many seconds, to run a batch again, and the first of its failures."""
    return {
        "batch": uri,
        "again": outcome.again,
        "wait": wait_seconds(outcome),
        "files": outcome.files,
        "bytes": outcome.bytes,
        "pending": outcome.pending,
        "failed": len(outcome.failed),
        "errors": [_shown(row) for row in outcome.failed[:MAX_NAMED]],
    }


def wait_seconds(outcome: BatchOutcome) -> int:
    """Return the seconds to wait before a batch is run again; 0 if rows only ran out of time."""
    if outcome.pending or not outcome.again:
        return 0
    return WAITS[min(max(outcome.runs, 1), len(WAITS)) - 1]


def again_reply(run: Run, batches: int) -> Mapping[str, Any]:
    """Return that batches are to be moved before the run can be finished."""
    return {"run": run.uri, "pending": False, "again": True, "batches": batches, "todo": _todo(run)}


def finish_reply(run: Run, report: FinishReport) -> Mapping[str, Any]:
    """Return how a run ended, or that its end takes another invocation.

    Raises:
        FilesFailed: files failed, or batches are not done.
    """
    if not report.pending and (report.failures or report.batches_left):
        raise FilesFailed(failure_message(run, report))
    return {
        "run": run.uri,
        "pending": report.pending,
        "again": False,
        "files": report.files,
        "skipped": report.skipped,
        "bytes": report.bytes,
        "totals": msgspec.to_builtins(report.totals),
    }


def failure_message(run: Run, report: FinishReport) -> str:
    """Return the numbers of failures, and as many of them as fit."""
    counts = f"{report.failures:,} of {report.totals.files:,} files failed"
    left = f"{report.batches_left:,} of {report.totals.batches:,} batches of {run.uri} are not done"
    rest = "remove the reason, and redrive the execution, which moves only what is left"
    text = f"{counts}, and {left}: {rest}."
    if report.without_outcome:
        numbers = ", ".join(map(str, report.without_outcome[:MAX_NAMED]))
        text += f" Functions died in the batches {numbers}, ...: give them more memory."
    return text + _as_many_as_fit(report.failed, MAX_FAILURE_BYTES - len(text.encode()))


def abort_reply(run: Run, report: AbortReport) -> Mapping[str, Any]:
    """Return how many uploads were aborted, and whether that takes another invocation."""
    return {"run": run.uri, "pending": report.pending, "aborted": report.aborted}


def _as_many_as_fit(rows: Sequence[RowLeft], left: int) -> str:
    """Return the first rows in at most `left` bytes."""
    named = ""
    for row in rows:
        more = f" {_shown(row)};"
        left -= len(more.encode())
        if left < 0:
            break
        named += more
    return named.rstrip(";")


def _shown(row: RowLeft) -> str:
    why = "out of time" if row.error is None else f"{row.error.type}: {row.error.message}"
    return encodable(f"{row.source}: {why}"[:MAX_MESSAGE])


def _todo(run: Run) -> Mapping[str, str]:
    return {"bucket": run.todo.bucket, "key": run.todo.key}


def _position(position: Any) -> Any:
    """Return a position as a path of the state machine can name it: never null."""
    return {} if position is None else position
