"""Events of the steps of a run, in the four functions that copy: what they pass on, refuse and reply.

The steps end as each test says; see `FakeRuns`.
"""

from typing import Any

import pytest

from asyncstream.errors import ConnectionFailed
from asyncstream.events import run_events
from asyncstream.events.batch_events import RUN_STEPS
from asyncstream.lab.s3 import LabS3
from asyncstream.runs.costs import Speeds
from asyncstream.runs.plan_requests import PlanRequest
from tests.fake_runs import FakeRuns

from .deliveries import Deliver, copied
from .trigger_events import s3_put, sqs

COUNTS = {"files": 30, "bytes": 0, "largest": 0, "giants": 0, "left_out": {}}


@pytest.fixture(autouse=True)
def steps(runs: FakeRuns) -> FakeRuns:
    """Replace the steps of runs for all tests of this module."""
    return runs


@pytest.fixture
def run(target: str) -> str:
    return f"s3://{target}/out/many-files/a/"


@pytest.fixture
def planned(deliver: Deliver, source: str, run: str) -> str:
    """Plan the run; return its place."""
    deliver({"plan": {"source": f"s3://{source}/big/"}, "run": run})
    return run


def batch(run: str, number: int) -> str:
    return f"{run}plan/{number:06d}.jsonl"


class TestPlan:
    def test_the_deployed_destination_replaces_the_deployed_source(
        self, deliver: Deliver, runs: FakeRuns, source: str, target: str, run: str
    ) -> None:
        reply = deliver({"plan": {"source": f"s3://{source}/big/a/"}, "run": run})

        [asked] = runs.asked
        assert asked == PlanRequest(
            source=f"s3://{source}/big/a/",
            destination=f"s3://{target}/out/big/a/",
            speeds=asked.speeds,
        )
        assert reply == {
            "run": run,
            "pending": False,
            "position": {},
            "batches": 3,
            "todo": {"bucket": target, "key": "out/many-files/a/todo.json"},
            "totals": COUNTS,
        }

    @pytest.mark.parametrize(
        ("kind", "key", "folder"),
        [
            ("zip", "big/2026.zip", "out/big/2026/"),
            ("lines", "big/2026.csv", "out/big/2026.csv/"),
            ("inventory", "lists/manifest.json", "out/"),
            ("jsonl", "lists/files.jsonl", "out/"),
            ("csv", "lists/files.csv", "out/"),
        ],
    )
    def test_each_kind_has_a_destination_of_its_own(
        self,
        deliver: Deliver,
        runs: FakeRuns,
        source: str,
        target: str,
        run: str,
        kind: str,
        key: str,
        folder: str,
    ) -> None:
        deliver({"plan": {"kind": kind, "source": f"s3://{source}/{key}"}, "run": run})

        [asked] = runs.asked
        assert (asked.kind, asked.destination) == (kind, f"s3://{target}/{folder}")

    def test_out_of_time_it_is_pending(self, deliver: Deliver, runs: FakeRuns, source: str, run: str) -> None:
        runs.plans = 2
        event = {"plan": {"source": f"s3://{source}/big/"}, "run": run}

        assert [deliver(event)["pending"] for _ in range(2)] == [True, False]

    def test_keys_in_lists_lose_the_deployed_source(
        self, deliver: Deliver, runs: FakeRuns, source: str, run: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("DEPLOYED_SOURCE", f"s3://{source}/big/")
        deliver({"plan": {"kind": "csv", "source": f"s3://{source}/big/list.csv"}, "run": run})
        deliver({"plan": {"source": f"s3://{source}/big/"}, "run": run})

        assert [asked.strip for asked in runs.asked] == ["big/", None]

    def test_archives_are_unpacked_if_the_function_unpacks(
        self,
        deliver: Deliver,
        runs: FakeRuns,
        source: str,
        target: str,
        run: str,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        monkeypatch.setenv("ASYNCSTREAM_UNPACK", "zip")
        asked = {"source": f"s3://{source}/big/"}
        deliver({"plan": asked, "run": run})
        deliver({"plan": asked | {"destination": f"s3://{target}/out/x/"}, "run": run})

        assert [asked.unpack for asked in runs.asked] == [True, False]

    def test_a_plan_knows_how_fast_the_function_is(
        self, deliver: Deliver, runs: FakeRuns, source: str, run: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", "1769")
        settings = {"max_concurrency": 3, "multipart": True}
        deliver({"plan": {"source": f"s3://{source}/big/", "settings": settings}, "run": run})

        assert runs.asked[0].speeds == Speeds(memory_mb=1769, slots=3)
        assert runs.asked[0].settings == settings

    def test_an_estimate_has_its_figures(self, deliver: Deliver, source: str) -> None:
        reply = deliver({"estimate": {"source": f"s3://{source}/big/"}})

        assert reply["whole"]
        assert (reply["estimate"]["files"], reply["estimate"]["functions"]) == (30, 50)
        assert reply["estimate"]["dollars"]["transitions"] > 0

    @pytest.mark.parametrize(
        ("change", "error"),
        [
            ({"bucket": "raw"}, "malformed at $.plan: Object contains unknown field `bucket`"),
            ({"kind": "tape"}, "malformed at $.plan.kind: Invalid enum value 'tape'"),
            ({"functions": 0}, "malformed at $.plan.functions: Expected `int` >= 1"),
            ({"functions": "50"}, "malformed at $.plan.functions: Expected `int`, got `str`"),
            ({"source": ""}, "the input has no `source`"),
            ({"source": "in/"}, "malformed at $.source: 'in/' is not an S3 URI"),
            ({"run": "s3://clean/r/"}, "the input has `source` and `run`"),
            ({"select": "*.csv"}, "the kind 'prefix': leave out `select`, which is for 'zip'"),
            ({"ranges": 5}, "the kind 'prefix': leave out `ranges`, which is for 'lines'"),
            ({"kind": "zip", "encoding": "x"}, "malformed at $.encoding: encoding 'x'"),
            ({"source": "s3://elsewhere/"}, "s3://elsewhere/ is outside s3://source-"),
            ({"destination": "s3://elsewhere/"}, "s3://elsewhere/ is outside s3://target-"),
            ({"kind": "lines", "join": "s3://elsewhere/a"}, "s3://elsewhere/a is outside"),
            (
                {"settings": {"parts": 1}},
                "malformed at $.plan.settings: Object contains unknown field `parts`",
            ),
            ({"settings": {"part_size": 1}}, "at $.plan.settings.part_size: Expected `int` >= 5242880"),
            ({"settings": {"transform": "os:system"}}, "may not name the transform 'os:system'"),
            ({"settings": {"extra_args": {"SSECustomerKey": "k" * 32}}}, "`settings` has a customer's key"),
        ],
    )
    def test_a_wrong_input_is_an_error(
        self, deliver: Deliver, runs: FakeRuns, lab: LabS3, source: str, run: str, change: Any, error: str
    ) -> None:
        told = deliver({"plan": {"source": f"s3://{source}/big/a"} | change, "run": run})

        assert told.startswith("InputError: ")
        assert error in told
        assert (runs.asked, lab.stats()["operations"]) == ([], {})

    @pytest.mark.parametrize("place", ["s3://elsewhere/run/", "out/run/", "s3://clean/out/run", ""])
    def test_a_run_is_within_the_deployed_destination(
        self, deliver: Deliver, lab: LabS3, source: str, place: str
    ) -> None:
        events: list[Any] = [
            {"plan": {"source": f"s3://{source}/big/"}, "run": place},
            {"finish": place},
            {"abort": place},
            {"batch": batch(place, 1)},
        ]

        for event in events:
            assert deliver(event).startswith("InputError: ")
        assert lab.stats()["operations"] == {}


class TestBatch:
    def test_a_batch_that_is_done(self, deliver: Deliver, planned: str) -> None:
        assert deliver({"batch": batch(planned, 2)}) == {
            "batch": batch(planned, 2),
            "again": False,
            "wait": 0,
            "files": 10,
            "bytes": 1000,
            "pending": 0,
            "failed": 0,
            "errors": [],
        }

    def test_out_of_time_it_is_run_again_at_once(
        self, deliver: Deliver, runs: FakeRuns, planned: str
    ) -> None:
        runs.ends[2] = ["pending"]
        reply = deliver({"batch": batch(planned, 2)})

        assert (reply["again"], reply["wait"], reply["pending"]) == (True, 0, 1)

    def test_what_failed_for_now_is_tried_three_times(
        self, deliver: Deliver, runs: FakeRuns, planned: str
    ) -> None:
        runs.ends[2] = ["temporary"] * 3
        replies = [deliver({"batch": batch(planned, 2)}) for _ in range(3)]

        assert [(each["again"], each["wait"]) for each in replies] == [(True, 5), (True, 15), (False, 0)]

    def test_what_failed_for_good_is_named(self, deliver: Deliver, runs: FakeRuns, planned: str) -> None:
        runs.ends[2] = ["failed"]
        reply = deliver({"batch": batch(planned, 2)})

        assert (reply["again"], reply["failed"]) == (False, 1)
        assert reply["errors"] == ["s3://raw/in/0002-3: AccessDenied: S3 denied the request"]

    def test_a_run_does_not_choose_functions_that_are_not_deployed(
        self, deliver: Deliver, runs: FakeRuns, source: str, run: str
    ) -> None:
        """A copied file may have the name of a run's description."""
        runs.settings = {"transform": "os:system"}
        deliver({"plan": {"source": f"s3://{source}/big/"}, "run": run})

        assert "may not name the transform" in deliver({"batch": batch(run, 2)})
        assert not runs.moved

    def test_an_error_that_may_not_occur_again_has_a_name_of_its_own(
        self, deliver: Deliver, runs: FakeRuns, planned: str
    ) -> None:
        runs.raises = [ConnectionFailed("no route")]

        told = deliver({"batch": batch(planned, 2)})
        assert told == "FilesFailedForNow: ConnectionFailed: no route"
        assert deliver({"batch": batch(planned, 2)}, seconds=0.4).startswith("FilesFailedForNow: Deadline")

    def test_a_batch_that_is_not_there_is_an_error(self, deliver: Deliver, run: str) -> None:
        assert deliver({"batch": batch(run, 2)}).startswith("SourceNotFound: ")
        assert "is not a batch" in deliver({"batch": f"{run}plan/2.json"})


class TestMessages:
    def test_a_message_names_a_batch(
        self, deliver: Deliver, runs: FakeRuns, lab: LabS3, source: str, target: str, planned: str
    ) -> None:
        runs.ends |= {1: ["pending"], 2: ["failed"]}
        messages = [{"batch": batch(planned, number)} for number in range(3)]
        reply = deliver(sqs(*messages, s3_put(source, "big/000000")))

        assert reply == {"batchItemFailures": [{"itemIdentifier": "m1"}, {"itemIdentifier": "m2"}]}
        assert runs.moved == {0: 1, 1: 1, 2: 1}
        assert "big/000000" in copied(lab, target)

    def test_a_batch_elsewhere_fails_alone(self, deliver: Deliver, runs: FakeRuns, planned: str) -> None:
        outside = {"batch": "s3://elsewhere/run/plan/000000.jsonl"}
        reply = deliver(sqs(outside, {"batch": batch(planned, 0)}, {"batch": batch(planned, 1), "x": 1}))

        assert reply == {"batchItemFailures": [{"itemIdentifier": "m0"}, {"itemIdentifier": "m2"}]}
        assert runs.moved == {0: 1}

    def test_after_a_failed_batch_no_more_of_its_group_runs(
        self, deliver: Deliver, runs: FakeRuns, planned: str
    ) -> None:
        runs.ends[0] = ["failed"]
        messages = [{"batch": batch(planned, number)} for number in range(3)]
        reply = deliver(sqs(*messages, groups="ggh"))

        assert [each["itemIdentifier"] for each in reply["batchItemFailures"]] == ["m0", "m1"]
        assert runs.moved == {0: 1, 2: 1}


class TestFinish:
    def finish(self, run: str, **more: Any) -> dict[str, Any]:
        return {"finish": run, **more}

    def test_a_run_that_is_done(self, deliver: Deliver, planned: str) -> None:
        for number in range(3):
            deliver({"batch": batch(planned, number)})

        assert deliver(self.finish(planned)) == {
            "run": planned,
            "pending": False,
            "again": False,
            "position": {},
            "batches": 3,
            "completed": 0,
            "joined": "",
            "totals": COUNTS,
        }

    def test_what_is_left_is_an_error(self, deliver: Deliver, runs: FakeRuns, planned: str) -> None:
        runs.ends[0] = ["failed"]
        deliver({"batch": batch(planned, 0)})
        told = deliver(self.finish(planned))

        assert told.startswith("FilesFailed: 1 of 30 files failed, and 3 of 3 batches of s3://")
        assert "s3://raw/in/0000-3: AccessDenied: S3 denied the request" in told

    @pytest.mark.parametrize(
        ("redrives", "moved_at", "again"),
        [(0, 0, False), (1, 0, True), (1, 1, False), (2, 1, True), (0, -1, True), (None, None, False)],
    )
    def test_after_a_redrive_what_is_left_is_moved_first(
        self, deliver: Deliver, target: str, planned: str, redrives: Any, moved_at: Any, again: bool
    ) -> None:
        deliver({"batch": batch(planned, 1)})
        reply = deliver(self.finish(planned, redrives=redrives, moved_at=moved_at))

        if not again:
            assert reply.startswith("FilesFailed: ")
            return
        assert reply == {
            "run": planned,
            "pending": False,
            "again": True,
            "position": {},
            "batches": 2,
            "todo": {"bucket": target, "key": "out/many-files/a/todo.json"},
        }

    def test_uploads_are_dropped(self, deliver: Deliver, planned: str) -> None:
        assert deliver({"abort": planned}) == {"run": planned, "pending": False, "position": {}}


def test_every_step_has_an_event() -> None:
    """A function looks for the names of steps without importing their events."""
    assert vars(run_events)["_KINDS"].keys() == RUN_STEPS
