"""`FakeRuns`: a run whose steps end as a test says, in place of the functions of `asyncstream.runs`.

It writes the objects that the state machine and the events read: `run.json` and `todo.json`.
"""

from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any, Literal

import pytest

from asyncstream.runs import estimating, finishing, planning, running
from asyncstream.runs.descriptions import Description, Totals
from asyncstream.runs.estimating import Estimate
from asyncstream.runs.finishing import AbortReport, FinishReport
from asyncstream.runs.outcomes import BatchOutcome, RowError, RowLeft
from asyncstream.runs.planning import PlanProgress, PlanRequest
from asyncstream.runs.run_store import RunStore

# How a run of a batch ends: nothing is left; a row ran out of time; a row failed, for now or for good.
End = Literal["done", "pending", "temporary", "failed"]
ROWS = 10


class FakeRuns:
    """A run of `batches` batches with ten files each.

    Attributes:
        batches: number of batches.
        ends: how the runs of a batch end, by its number, in order; "done" after them.
        plans, finishes, aborts, estimates: invocations that a step takes.
        position: what a plan that runs out of time continues with.
        message: why rows fail.
        asked: what was planned.
        positions: where each plan or estimate started.
        moved: how often each batch was run.
        done: the batches that are done.
        raises: errors to raise by the next steps, in order.
    """

    def __init__(self, batches: int) -> None:
        self.batches = batches
        self.ends: dict[int, list[End]] = {}
        self.plans = self.finishes = self.aborts = self.estimates = 1
        self.position: Any = {"at": 1}
        self.message = "S3 denied the request"
        self.asked: list[PlanRequest] = []
        self.positions: list[Any] = []
        self.moved = Counter[int]()
        self.done: set[int] = set()
        self.outcomes: dict[int, BatchOutcome] = {}
        self.raises: list[Exception] = []
        self.settings: dict[str, Any] = {}

    def install(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Take the place of the steps for the time of a test."""
        monkeypatch.setattr(planning, "plan_run", self.plan_run)
        monkeypatch.setattr(running, "run_batch", self.run_batch)
        monkeypatch.setattr(estimating, "estimate_run", self.estimate_run)
        for step in (self.list_left, self.finish_run, self.abort_run):
            monkeypatch.setattr(finishing, step.__name__, step)

    @property
    def totals(self) -> Totals:
        return Totals(files=self.batches * ROWS, batches=self.batches)

    def plan_run(
        self, store: RunStore, asked: PlanRequest, session: Any, timed: Any, position: Any, check: Any
    ) -> PlanProgress:
        self._take()
        self.asked.append(asked)
        self.positions.append(position)
        self.plans -= 1
        if self.plans > 0:
            return PlanProgress(Totals(batches=1), self.position)
        store.write_json(store.run.todo, self._todo(store))
        described = Description(
            source=asked.source,
            destination=asked.destination,
            kind=asked.kind,
            settings=self.settings,
            totals=self.totals,
        )
        store.write_json(store.run.description, described)
        return PlanProgress(self.totals)

    def estimate_run(
        self, asked: PlanRequest, session: Any, timed: Any, position: Any, check: Any
    ) -> Estimate:
        self._take()
        self.asked.append(asked)
        self.positions.append(position)
        self.estimates -= 1
        return Estimate({"files": 1_000}, self.position if self.estimates > 0 else None)

    def run_batch(
        self, store: RunStore, number: int, session: Any, timed: Callable[[], Any], check: Any
    ) -> BatchOutcome:
        timed()
        self._take()
        self.moved[number] += 1
        ends = self.ends.get(number, [])
        end = ends.pop(0) if ends else "done"
        left = [] if end == "done" else [self._left(number, end)]
        runs = self.outcomes[number].runs + 1 if number in self.outcomes else 1
        files = ROWS - len(left)
        outcome = BatchOutcome(batch=number, rows=ROWS, files=files, bytes=files * 100, runs=runs, left=left)
        self.outcomes[number] = outcome
        store.write_outcome(outcome)
        if not left:
            self.done.add(number)
        return outcome

    def list_left(self, store: RunStore, session: Any, timed: Any) -> int:
        self._take()
        batches = self._todo(store)
        store.write_json(store.run.todo, batches)
        return len(batches)

    def finish_run(self, store: RunStore, session: Any, timed: Any, check: Any) -> FinishReport:
        self._take()
        self.finishes -= 1
        left = [number for number in range(self.batches) if number not in self.done]
        failed = [row for number in left if number in self.outcomes for row in self.outcomes[number].failed]
        moved: Sequence[BatchOutcome] = list(self.outcomes.values())
        return FinishReport(
            pending=self.finishes > 0,
            totals=self.totals,
            files=sum(each.files for each in moved),
            bytes=sum(each.bytes for each in moved),
            batches_left=len(left),
            without_outcome=[number for number in left if number not in self.outcomes],
            failures=len(failed),
            failed=failed,
        )

    def abort_run(self, store: RunStore, session: Any, timed: Any, check: Any) -> AbortReport:
        self._take()
        self.aborts -= 1
        return AbortReport(aborted=3, pending=self.aborts > 0)

    def _take(self) -> None:
        if self.raises:
            raise self.raises.pop(0)

    def _todo(self, store: RunStore) -> list[dict[str, str]]:
        left = (number for number in range(self.batches) if number not in self.done)
        return [{"batch": store.run.batch(number).uri} for number in left]

    def _left(self, number: int, end: End) -> RowLeft:
        error = None
        if end != "pending":
            error = RowError("AccessDenied", self.message, temporary=end == "temporary")
        return RowLeft(3, f"s3://raw/in/{number:04d}-3", f"s3://clean/out/{number:04d}-3", error)
