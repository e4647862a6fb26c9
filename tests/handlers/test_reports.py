"""The report of a direct invocation: where it may be written, and how much time it may take."""

from collections.abc import Callable
from importlib import import_module
from types import SimpleNamespace
from typing import Any

import pytest

from asyncstream.errors import ConnectionFailed
from asyncstream.lab.s3 import LabS3
from asyncstream.pipeline import clients

from .invocations import Context, Invoke, files_of
from .witness import DESTINATION, SOURCE, WitnessS3

REPORT = f"{DESTINATION}reports/run.json"
FILE = {"source": f"{SOURCE}a", "destination": f"{DESTINATION}a"}
SECONDS = 3.0
# Seconds that replies are waited for after the deadline; see `deadline.py`.
REPLY_SECONDS = 0.25


class TestWhere:
    @pytest.mark.parametrize("report", ["in/000000", "in/000001"], ids=["first", "other"])
    def test_a_report_is_none_of_the_files_named(
        self, invoke: Invoke, lab: LabS3, source: str, target: str, report: str
    ) -> None:
        files = files_of(source, target, "in/000000", "in/000001")

        for bucket in (source, target):
            reply = invoke({"files": files, "report_uri": f"s3://{bucket}/{report}"})
            assert (reply["status"], reply["error"]["type"]) == ("rejected", "InputError")
            assert f"$.report_uri: s3://{bucket}/{report} is one of the files" in reply["error"]["message"]
            assert lab.stats()["operations"] == {}

    def test_a_report_is_no_version_of_a_file_named(
        self, invoke: Invoke, lab: LabS3, source: str, target: str
    ) -> None:
        (file,) = files_of(source, target, "in/000000")
        event = {"files": [file | {"version_id": "v1"}], "report_uri": file["source"]}

        assert "is one of the files" in invoke(event)["error"]["message"]
        assert lab.stats()["operations"] == {}

    @pytest.mark.parametrize("read", [False, True], ids=["written", "read"])
    def test_a_report_is_none_of_the_files_listed(
        self, invoke: Invoke, lab: LabS3, source: str, target: str, read: bool
    ) -> None:
        place = f"s3://{source}/in/000002" if read else f"s3://{target}/out/000002"
        event = {"source_prefix": f"s3://{source}/in/", "destination": f"s3://{target}/out/"}
        reply = invoke(event | {"report_uri": place})

        assert (reply["status"], reply["error"]["type"]) == ("rejected", "InputError")
        assert f"{place} is one of the files, s3://{source}/in/000002 -> " in reply["error"]["message"]
        assert lab.stats()["operations"] == {"ListObjectsV2": 1}
        assert lab.checksums(target) == {}

    def test_a_report_may_lie_beside_the_files_listed(
        self, invoke: Invoke, lab: LabS3, source: str, target: str
    ) -> None:
        event = {"source_prefix": f"s3://{source}/in/", "destination": f"s3://{target}/out/"}
        reply = invoke(event | {"report_uri": f"s3://{target}/out/report.json"})

        assert (reply["status"], reply["report_uri"]) == ("copied", f"s3://{target}/out/report.json")
        assert len(lab.checksums(target)) == 4


class Ending(Context):
    """An invocation whose time is nearly up after the first question how much is left."""

    def get_remaining_time_in_millis(self) -> int:
        left = self.milliseconds
        object.__setattr__(self, "milliseconds", 400)
        return left


class TestTime:
    @pytest.fixture
    def reported(self, function: str, witness: WitnessS3) -> Callable[..., dict[str, Any]]:
        """Return a function that returns the reply to an event with a report, without a server."""
        handler = import_module(f"handlers.{function}").handler

        def reported(context: Context) -> dict[str, Any]:
            reply: dict[str, Any] = handler({"files": [FILE], "report_uri": REPORT}, context)
            assert (reply["status"], reply["totals"]["copied"]) == ("copied", 1)
            return reply

        return reported

    def test_a_report_has_the_time_that_is_left(
        self, reported: Callable[..., dict[str, Any]], witness: WitnessS3
    ) -> None:
        assert reported(Context(int(SECONDS * 1000)))["report_uri"] == REPORT
        assert 0 < witness.left[REPORT] <= SECONDS - 0.5 + REPLY_SECONDS

    def test_a_report_that_is_late_is_reported_and_not_repeated(
        self,
        reported: Callable[..., dict[str, Any]],
        witness: WitnessS3,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        now, puts = 0.0, 0

        def stall(uri: str) -> None:
            nonlocal now, puts
            if uri == REPORT:
                now, puts = now + SECONDS, puts + 1
                raise ConnectionFailed("no reply")

        witness.on_put = stall
        monkeypatch.setattr(clients, "time", SimpleNamespace(monotonic=lambda: now))
        reply = reported(Context(int(SECONDS * 1000)))

        assert puts == 1
        assert "report_uri" not in reply
        assert reply["error"]["type"] == "DeadlineExceeded"
        assert "no reply" in reply["error"]["message"]

    def test_a_report_without_time_is_an_error_and_not_started(
        self, reported: Callable[..., dict[str, Any]], witness: WitnessS3
    ) -> None:
        reply = reported(Ending(int(SECONDS * 1000)))

        assert "report_uri" not in reply
        assert reply["error"]["type"] == "DeadlineExceeded"
        assert REPORT not in witness.written
