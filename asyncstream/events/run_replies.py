"""Replies of the steps of a run, for the state machine of `deploy/template.yaml`. Does no I/O.

The state machine keeps them in its state, so they are small: counts, a position, and the first errors only
where no state follows.
"""

from collections.abc import Mapping
from typing import Any

import msgspec

from asyncstream.error_texts import encodable
from asyncstream.errors import FilesFailed
from asyncstream.events.run_events import FinishPosition
from asyncstream.runs import finishing
from asyncstream.runs.counting import PlanProgress
from asyncstream.runs.descriptions import Description, Totals
from asyncstream.runs.estimating import Estimate
from asyncstream.runs.finishing import FinishReport
from asyncstream.runs.outcomes import BatchOutcome, RowLeft
from asyncstream.runs.places import Run

# An execution's Cause may have 32,768 characters: JSON of the error's message, type and stack trace, written
# by Lambda's runtime client. In it a byte of the message takes at most three characters: two bytes (ä) take
# six (\u00e4), four bytes (an emoji) take twelve. From Python 3.12 on, the client does not escape them.
MAX_FAILURE_BYTES = 7_000
# Characters of one failure, and failures that the reply of a batch names.
MAX_MESSAGE = 300
MAX_NAMED = 5
# Seconds before a batch is run again, after its first run, its second, and so on, if only failures are left
# that may not occur again.
WAITS = (5, 15, 45)


def plan_reply(run: Run, progress: PlanProgress) -> Mapping[str, Any]:
    """Return whether a plan takes another invocation, and where the list of its batches is."""
    return {
        "run": run.uri,
        "pending": not progress.whole,
        "position": {},
        "batches": progress.totals.batches,
        "todo": _todo(run),
        "totals": _counts(progress.totals),
    }


def estimate_reply(progress: PlanProgress, estimate: Estimate) -> Mapping[str, Any]:
    """Return the figures of an estimate, and whether all files were counted before the time was up."""
    return {
        "whole": progress.whole,
        "estimate": msgspec.to_builtins(estimate),
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
    return {
        "run": run.uri,
        "pending": False,
        "again": True,
        "position": {},
        "batches": batches,
        "todo": _todo(run),
    }


def finish_reply(
    run: Run, description: Description, report: FinishReport, earlier: FinishPosition
) -> Mapping[str, Any]:
    """Return how a run ended, or that its end takes another invocation.

    Args:
        run: its place.
        description: what was planned.
        report: what this invocation has found.
        earlier: what earlier invocations of the same end have found.

    Raises:
        FilesFailed: files failed, or batches are not done.
    """
    so_far = _add_up(earlier, report)
    if report.next_list is None and (so_far.failed or report.batches_left):
        raise FilesFailed(_failure_message(run, description, report, so_far))
    return {
        "run": run.uri,
        "pending": report.next_list is not None,
        "again": False,
        "position": {} if report.next_list is None else msgspec.to_builtins(so_far),
        "batches": report.batches,
        "completed": so_far.completed,
        "joined": report.joined,
        "totals": _counts(description.totals),
    }


def abort_reply(run: Run, next_list: int | None) -> Mapping[str, Any]:
    """Return whether all uploads were aborted, or where another invocation continues."""
    position = {} if next_list is None else {"next_list": next_list}
    return {"run": run.uri, "pending": next_list is not None, "position": position}


def _add_up(earlier: FinishPosition, report: FinishReport) -> FinishPosition:
    """Add what an invocation has found. Each finds the failures of batches, and those of its own uploads."""
    errors: list[str] = []
    left = MAX_FAILURE_BYTES
    for error in dict.fromkeys([*earlier.errors, *map(_shown, report.failures)]):
        left -= len(error.encode()) + 2
        if left < 0:
            break
        errors.append(error)
    return FinishPosition(
        next_list=report.next_list or 0,
        completed=earlier.completed + report.completed,
        failed=max(earlier.failed, report.failed, len(errors)),
        errors=errors,
        redrives=earlier.redrives,
    )


def _failure_message(run: Run, description: Description, report: FinishReport, so_far: FinishPosition) -> str:
    """Return the numbers of failures, and the first of them."""
    at_least = "at least " if so_far.failed >= finishing.MOST_NAMED else ""
    text = (
        f"{at_least}{so_far.failed:,} of {description.totals.files:,} files failed, and "
        f"{report.batches_left:,} of {report.batches:,} batches of {run.uri} are not done: remove the "
        "reason, and redrive the execution, which moves only what is left."
    )
    if not so_far.failed:
        text += " Functions died or were throttled: see their logs; give them more memory, or use fewer."
    return " ".join([text, "; ".join(so_far.errors)]).strip()


def _shown(row: RowLeft) -> str:
    why = "out of time" if row.error is None else f"{row.error.type}: {row.error.message}"
    return encodable(f"{row.source}: {why}"[:MAX_MESSAGE])


def _counts(totals: Totals) -> Mapping[str, Any]:
    """Return what a plan has counted, without what only an estimate needs."""
    return {name: getattr(totals, name) for name in ("files", "bytes", "largest", "giants", "left_out")}


def _todo(run: Run) -> Mapping[str, str]:
    return {"bucket": run.todo.bucket, "key": run.todo.key}
