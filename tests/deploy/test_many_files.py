"""The state machine of `deploy/template.yaml`: a test double runs it with the real function.

The steps of the run behind the function end as each test says; see `FakeRuns`.
"""

from collections import Counter
from typing import Any

import pytest

from asyncstream.errors import ConnectionFailed
from asyncstream.lab.s3 import LabS3
from asyncstream.lab.s3.faults import Fault
from tests.fake_runs import FakeRuns

from .asl_machine import LONGEST_CAUSE, THROTTLED, StepFunctions
from .many_files import Function, failure

SOURCE = {"source": "s3://raw/in/"}
RUN = "s3://clean/out/many-files/run/"
BATCHES = 24


@pytest.fixture(autouse=True)
def runs(lab: LabS3, monkeypatch: pytest.MonkeyPatch) -> FakeRuns:
    """Replace the steps of runs."""
    runs = FakeRuns(BATCHES)
    runs.install(monkeypatch)
    return runs


class TestPlan:
    def test_a_source_is_planned_moved_and_finished(
        self, start: StepFunctions, runs: FakeRuns, function: Function
    ) -> None:
        execution = start.start(SOURCE)

        assert execution.status == "SUCCEEDED"
        assert function.steps == ["plan", *["batch"] * BATCHES, "finish"]
        assert function.payloads[1] == {"batch": f"{RUN}plan/000000.jsonl"}
        assert runs.moved == dict.fromkeys(range(BATCHES), 1)
        assert (execution.value["run"], execution.value["totals"]["files"]) == (RUN, 240)

    def test_a_plan_that_takes_long_is_continued(
        self, start: StepFunctions, runs: FakeRuns, function: Function
    ) -> None:
        runs.plans = 3

        assert start.start(SOURCE).status == "SUCCEEDED"
        assert function.steps[:4] == ["plan", "plan", "plan", "batch"]

    def test_an_empty_source_moves_nothing(
        self, start: StepFunctions, runs: FakeRuns, function: Function
    ) -> None:
        runs.batches = 0

        assert start.start(SOURCE).status == "SUCCEEDED"
        assert function.steps == ["plan", "finish"]

    def test_the_input_reaches_the_plan(self, start: StepFunctions, runs: FakeRuns) -> None:
        given = {
            "kind": "zip",
            "source": "s3://raw/in/a.zip",
            "destination": "s3://clean/out/x/",
            "settings": {"if_exists": "skip"},
            "functions": 7,
            "select": "*.csv",
        }
        start.start(given)

        [asked] = runs.asked
        assert {name: getattr(asked, name) for name in given} == given

    def test_an_input_is_refused_before_anything_is_written(
        self, start: StepFunctions, runs: FakeRuns, lab: LabS3
    ) -> None:
        for given in ({**SOURCE, "bucket": "raw"}, {"kind": "tape"}, {}, {**SOURCE, "functions": "all"}):
            execution = start.start(given)
            assert (execution.status, execution.error) == ("FAILED", "InputError")
        assert lab.stats()["operations"] == {}
        assert runs.asked == []

    def test_a_plan_that_failed_for_now_is_tried_again(
        self, start: StepFunctions, runs: FakeRuns, function: Function
    ) -> None:
        runs.raises = [ConnectionFailed("no route")]

        assert start.start(SOURCE).status == "SUCCEEDED"
        assert function.steps[:3] == ["plan", "plan", "batch"]
        assert start.waits == [5]


class TestBatches:
    def test_a_batch_out_of_time_is_moved_again_at_once(
        self, start: StepFunctions, runs: FakeRuns, function: Function
    ) -> None:
        runs.ends[3] = ["pending", "pending"]

        assert start.start(SOURCE).status == "SUCCEEDED"
        assert function.batches.count(3) == 3
        assert start.waits == []

    def test_after_temporary_failures_a_batch_waits(
        self, start: StepFunctions, runs: FakeRuns, function: Function
    ) -> None:
        runs.ends[3] = ["temporary", "temporary"]

        assert start.start(SOURCE).status == "SUCCEEDED"
        assert function.batches.count(3) == 3
        assert start.waits == [5, 15]

    @pytest.mark.parametrize(
        "error", ["Lambda.Unknown", "Sandbox.Timedout", "Runtime.ExitError", "States.Timeout"]
    )
    def test_a_function_that_died_is_invoked_once_more(
        self, start: StepFunctions, function: Function, error: str
    ) -> None:
        function.deaths |= {3: [error], 4: [error] * 2}
        execution = start.start(SOURCE)

        assert "0 of 240 files failed, and 1 of 24 batches" in failure(execution)
        assert "Functions died" in failure(execution)
        assert Counter(function.batches) == dict.fromkeys(range(BATCHES), 1) | {3: 2, 4: 2}

    def test_a_lost_reply_does_no_harm(
        self, start: StepFunctions, runs: FakeRuns, function: Function
    ) -> None:
        function.lost_replies[2] = "States.Timeout"

        assert start.start(SOURCE).status == "SUCCEEDED"
        assert function.batches.count(0) == 2

    def test_a_throttled_batch_waits_a_minute_at_most(
        self, start: StepFunctions, runs: FakeRuns, function: Function
    ) -> None:
        runs.batches = 1
        function.deaths[0] = [THROTTLED] * 200

        assert start.start(SOURCE).status == "SUCCEEDED"
        assert start.waits == [1, 2, 4, 8, 16, 32, *[60] * 194]

    def test_each_kind_of_refusal_is_counted_by_itself(
        self, start: StepFunctions, runs: FakeRuns, function: Function
    ) -> None:
        runs.batches = 1
        function.deaths[0] = [THROTTLED, "Lambda.ServiceException"] * 6

        assert start.start(SOURCE).status == "SUCCEEDED"
        assert start.waits == [1, 1, 2, 2, 4, 4, 8, 8, 16, 16, 32, 32]

    def test_an_account_with_10_functions_moves_all(
        self, machine: Any, s3: Any, function: Function, runs: FakeRuns
    ) -> None:
        runs.batches = 100
        start = StepFunctions(machine, s3, function, functions=10)

        assert start.start(SOURCE).status == "SUCCEEDED"
        assert runs.moved == dict.fromkeys(range(100), 1)
        assert len(start.waits) > 100


class TestFinish:
    def test_an_end_that_takes_long_is_continued(
        self, start: StepFunctions, runs: FakeRuns, function: Function
    ) -> None:
        runs.finishes = 3

        execution = start.start(SOURCE)

        assert execution.status == "SUCCEEDED"
        assert function.steps[-3:] == ["finish"] * 3
        assert runs.positions == [0, 1, 2]
        assert execution.value["completed"] == 4

    def test_a_failure_of_an_earlier_invocation_is_kept(self, start: StepFunctions, runs: FakeRuns) -> None:
        runs.finishes, runs.giant_fails = 3, True

        told = failure(start.start(SOURCE))
        assert told.startswith("1 of 240 files failed, and 0 of 24 batches of ")
        assert told.endswith("s3://raw/giant: SourceChanged: ?")

    def test_failures_fail_the_execution_and_are_named(
        self, start: StepFunctions, runs: FakeRuns, function: Function
    ) -> None:
        runs.ends |= {3: ["failed"], 5: ["failed"]}
        function.deaths[7] = ["Runtime.OutOfMemory"]

        execution = start.start(SOURCE)

        assert execution.error == "FilesFailed"
        told = failure(execution)
        assert told.startswith("2 of 240 files failed, and 3 of 24 batches of ")
        assert "s3://raw/in/0003-3: AccessDenied: S3 denied the request" in told
        assert "s3://raw/in/0005-3" in told

    @pytest.mark.parametrize("character", ["a", "ä", "\N{GRINNING FACE}", '"', "\\", ","])
    def test_many_failures_fit_into_a_cause(
        self, start: StepFunctions, runs: FakeRuns, character: str
    ) -> None:
        runs.message = character * 1_000
        runs.ends = {number: ["failed"] for number in range(BATCHES)}

        assert "s3://raw/in/0003-3" in failure(execution := start.start(SOURCE))
        assert len(execution.cause) < LONGEST_CAUSE


class TestRedrive:
    def test_a_redrive_moves_only_the_batches_that_are_left(
        self, start: StepFunctions, runs: FakeRuns, function: Function
    ) -> None:
        runs.ends |= {3: ["failed"], 5: ["failed"]}
        function.deaths[7] = ["Runtime.OutOfMemory"]
        execution = start.start(SOURCE)
        function.payloads.clear()

        start.redrive(execution)

        assert execution.status == "SUCCEEDED"
        assert function.steps == ["finish", *["batch"] * 3, "finish"]
        assert function.batches == [3, 5, 7]
        assert [len(children) for children in execution.map_runs] == [BATCHES, 3]

    def test_each_redrive_moves_what_is_left_once(
        self, start: StepFunctions, runs: FakeRuns, function: Function
    ) -> None:
        runs.ends[3] = ["failed"] * 3
        execution = start.start(SOURCE)

        for attempt in (2, 3):
            assert start.redrive(execution).status == "FAILED"
            assert function.batches.count(3) == attempt
        assert start.redrive(execution).status == "SUCCEEDED"
        assert runs.moved.total() == BATCHES + 3

    def test_a_redrive_completes_giants_from_the_first_list_on(
        self, start: StepFunctions, runs: FakeRuns, function: Function
    ) -> None:
        """An earlier invocation of the last step could not complete one; the last one is redriven."""
        runs.finishes, runs.giant_fails = 3, True
        execution = start.start(SOURCE)
        assert "1 of 240 files failed, and 0 of 24 batches" in failure(execution)
        runs.finishes, runs.giant_fails = 3, False
        function.payloads.clear()

        assert start.redrive(execution).status == "SUCCEEDED"
        assert function.steps == ["finish"] * 3
        assert runs.positions == [0, 1, 2, 0, 1, 2]

    def test_a_redrive_of_a_last_step_that_died_moves_nothing(
        self, start: StepFunctions, runs: FakeRuns, function: Function
    ) -> None:
        function.lost_replies |= dict.fromkeys((BATCHES + 2, BATCHES + 3), "Lambda.Unknown")
        execution = start.start(SOURCE)
        assert (execution.status, execution.error) == ("FAILED", "Lambda.Unknown")
        function.payloads.clear()
        function.lost_replies.clear()

        assert start.redrive(execution).status == "SUCCEEDED"
        assert function.steps == ["finish"]

    def test_a_plan_that_died_continues_where_it_was(
        self, start: StepFunctions, runs: FakeRuns, function: Function
    ) -> None:
        runs.plans = 2
        function.lost_replies |= dict.fromkeys((2, 3), "Lambda.Unknown")
        execution = start.start(SOURCE)
        assert execution.status == "FAILED"
        function.lost_replies.clear()

        function.payloads.clear()

        assert start.redrive(execution).status == "SUCCEEDED"
        assert function.steps == ["plan", *["batch"] * BATCHES, "finish"]

    def test_a_list_that_could_not_be_read_is_read_again(
        self, start: StepFunctions, function: Function, lab: LabS3
    ) -> None:
        lab.set_faults([Fault("refuse", "GetObject", key="*/todo.json", status=403, code="AccessDenied")])
        execution = start.start(SOURCE)
        assert (execution.status, execution.error) == ("FAILED", "States.ItemReaderFailed")
        lab.set_faults([])

        assert start.redrive(execution).status == "SUCCEEDED"
        assert function.steps == ["plan", *["batch"] * BATCHES, "finish"]


class TestOtherActions:
    def test_a_run_moves_again_what_an_earlier_one_left(
        self, start: StepFunctions, runs: FakeRuns, function: Function
    ) -> None:
        runs.ends |= {3: ["failed"], 5: ["failed", "failed"]}
        start.start(SOURCE)
        function.payloads.clear()

        second = start.start({"run": RUN, "functions": 2}, "again")

        assert "1 of 240 files failed" in failure(second)
        assert function.steps == ["finish", "batch", "batch", "finish"]
        assert function.batches == [3, 5]
        assert start.redrive(second).status == "SUCCEEDED"
        assert function.batches == [3, 5, 5]

    def test_a_run_of_which_nothing_is_left_succeeds(self, start: StepFunctions, function: Function) -> None:
        start.start(SOURCE)
        function.payloads.clear()

        assert start.start({"run": RUN}).status == "SUCCEEDED"
        assert function.steps == ["finish"]

    def test_a_source_and_a_run_contradict_each_other(self, start: StepFunctions) -> None:
        assert "name a source for a new run" in failure(start.start(SOURCE | {"run": RUN}))

    def test_uploads_are_dropped(self, start: StepFunctions, runs: FakeRuns, function: Function) -> None:
        runs.aborts = 2
        execution = start.start({"action": "abort", "run": RUN})

        assert execution.status == "SUCCEEDED"
        assert function.steps == ["abort"] * 2
        assert runs.positions == [0, 1]
        assert execution.value["run"] == RUN

    @pytest.mark.parametrize("asked", [{"action": "estimate"}, {"estimate_only": True}])
    def test_an_estimate_moves_nothing(
        self, start: StepFunctions, runs: FakeRuns, function: Function, lab: LabS3, asked: dict[str, Any]
    ) -> None:
        execution = start.start(SOURCE | asked)

        assert execution.status == "SUCCEEDED"
        assert function.steps == ["estimate"]
        assert execution.value["whole"]
        assert execution.value["estimate"]["files"] == 240
        assert lab.stats()["operations"] == {}


def test_the_state_stays_small(start: StepFunctions, runs: FakeRuns) -> None:
    """The Map has 1,000 children, and the last step as many failures as its position has room for."""
    runs.batches, runs.finishes, runs.message = 1_000, 2, "ä" * 1_000
    runs.ends = {number: ["failed"] for number in range(0, 1_000, 10)}

    assert start.start(SOURCE).status == "FAILED"
    assert start.largest < 50_000
