"""`FakeRuns`: a run whose steps end as a test says, in place of the functions of `asyncstream.runs`.

It writes the objects that the state machine and the events read: `run.json` and `todo.json`.
"""

from collections import Counter
from typing import Any, Literal

import pytest

from asyncstream.runs import counting, finishing, moving, planning
from asyncstream.runs.batching import PackerState
from asyncstream.runs.counting import PlanProgress
from asyncstream.runs.descriptions import Description, Totals
from asyncstream.runs.finishing import FinishReport
from asyncstream.runs.moving import Worker
from asyncstream.runs.outcomes import BatchOutcome, RowError, RowLeft
from asyncstream.runs.plan_requests import PlanRequest
from asyncstream.runs.run_store import RunStore

# How a run of a batch ends: nothing is left; a row ran out of time; a row failed, for now or for good.
End = Literal["done", "pending", "temporary", "failed"]
ROWS = 10


class FakeRuns:
    """A run of `batches` batches with ten files each.

    Attributes:
        batches: number of batches.
        ends: how the runs of a batch end, by its number, in order; "done" after them.
        plans, finishes, aborts: invocations that a step takes; an estimate takes `plans`.
        message: why rows fail.
        asked: what was planned.
        positions: the list of uploads with which each last step, or abort, started.
        moved: how often each batch was run.
        giant_fails: whether a giant file cannot be completed by a last step that runs out of time.
        raises: errors to raise by the next steps, in order.
    """

    def __init__(self, batches: int) -> None:
        self.batches = batches
        self.ends: dict[int, list[End]] = {}
        self.plans = self.finishes = self.aborts = 1
        self.message = "S3 denied the request"
        self.asked: list[PlanRequest] = []
        self.positions: list[Any] = []
        self.moved = Counter[int]()
        self.giant_fails = False
        self.raises: list[Exception] = []
        self.settings: dict[str, Any] = {}

    def install(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Take the place of the steps for the time of a test."""
        self._finish_run = finishing.finish_run
        monkeypatch.setattr(planning, "plan_run", self.plan_run)
        monkeypatch.setattr(counting, "count_run", self.count_run)
        monkeypatch.setattr(moving, "move_batch", self.move_batch)
        monkeypatch.setattr(finishing, "finish_run", self.finish_run)
        monkeypatch.setattr(finishing, "abort_run", self.abort_run)

    def plan_run(self, store: RunStore, asked: PlanRequest, worker: Worker) -> PlanProgress:
        progress = self.count_run(asked, worker)
        if progress.whole:
            store.write_todo(range(self.batches))
            described = Description(
                source=asked.source,
                destination=asked.destination,
                kind=asked.kind,
                settings=self.settings,
                totals=progress.totals,
            )
            store.write_json(store.run.description, described)
        return progress

    def count_run(self, asked: PlanRequest, worker: Worker) -> PlanProgress:
        self._take()
        self.asked.append(asked)
        self.plans -= 1
        totals = Totals(files=self.batches * ROWS, batches=self.batches)
        return PlanProgress(asked=asked, packer=PackerState(totals=totals), whole=self.plans <= 0)

    def move_batch(self, store: RunStore, number: int, worker: Worker) -> BatchOutcome:
        worker.timed()
        self._take()
        worker.check([], store.read_description().settings)
        self.moved[number] += 1
        ends = self.ends.get(number, [])
        end = ends.pop(0) if ends else "done"
        left = [] if end == "done" else [self._left(number, end)]
        before = store.read_outcome(number)
        files = ROWS - len(left)
        outcome = BatchOutcome(
            batch=number,
            rows=ROWS,
            files=files,
            bytes=files * 100,
            runs=before.runs + 1 if before else 1,
            left=left,
        )
        store.write_outcome(outcome)
        return outcome

    def finish_run(self, store: RunStore, worker: Worker, first_list: int) -> FinishReport:
        """Return the real report, after the invocations that ran out of time."""
        self._take()
        self.positions.append(first_list)
        self.finishes -= 1
        if self.finishes > 0:
            failed = [RowLeft(0, "s3://raw/giant", "s3://clean/out/giant", RowError("SourceChanged", "?"))]
            failures = failed if self.giant_fails else []
            return FinishReport(
                batches=self.batches,
                completed=2,
                failed=len(failures),
                failures=failures,
                next_list=first_list + 1,
            )
        return self._finish_run(store, worker, first_list)

    def abort_run(self, store: RunStore, worker: Worker, first_list: int) -> int | None:
        self._take()
        self.positions.append(first_list)
        self.aborts -= 1
        return first_list + 1 if self.aborts > 0 else None

    def _take(self) -> None:
        if self.raises:
            raise self.raises.pop(0)

    def _left(self, number: int, end: End) -> RowLeft:
        error = None
        if end != "pending":
            error = RowError("AccessDenied", self.message, temporary=end == "temporary")
        return RowLeft(3, f"s3://raw/in/{number:04d}-3", f"s3://clean/out/{number:04d}-3", error)
