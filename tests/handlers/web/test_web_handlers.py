"""The three functions that gather pages, invoked as Lambda does: stored rows, replies and errors."""

import json
import random
from collections.abc import Callable
from importlib import import_module

import pytest

from asyncstream import AsyncstreamError, S3Object, TransferConfig
from asyncstream.lab.s3 import LabS3
from asyncstream.lab.web import LabWeb
from asyncstream.pipeline.session import borrow_session
from tests.handlers.invocations import Context
from tests.handlers.trigger_events import object_created, s3_put, sample
from tests.servers.postgres import Schema

from .gatherings import SECONDS, SHIPPED, SHORT, Event, Invoke, stored


class TestGathered:
    def test_pages_are_stored_and_counted_and_then_unchanged(
        self, invoke: Invoke, function: str, web: LabWeb, table: Schema
    ) -> None:
        reply = invoke({"urls": web.urls(12)})

        assert reply["status"] == "stored"
        assert reply["engine"] == function.removeprefix("web_")
        assert reply["request_id"] == Context(0).aws_request_id
        totals = reply["totals"]
        counted = {
            name: totals[name] for name in ("pages", "stored", "unchanged", "failed", "pending", "rows")
        }
        assert counted == {
            "pages": 12, "stored": 12, "unchanged": 0, "failed": 0, "pending": 0, "rows": 120
        }  # fmt: skip
        assert totals["slots"] == (1 if function == "web_sequential" else 60)
        assert table.rows() == stored(*range(12))

        again = invoke({"urls": web.urls(12)})
        assert (again["status"], again["totals"]["unchanged"], again["totals"]["rows"]) == ("stored", 12, 0)

    def test_no_context_is_no_deadline_and_no_id(self, function: str, web: LabWeb, table: Schema) -> None:
        handler = import_module(f"handlers.{function}").handler
        reply = handler({"urls": web.urls(2)}, None)
        assert (reply["status"], reply["request_id"]) == ("stored", "")
        assert table.rows() == stored(0, 1)

    def test_a_failed_page_is_reported_and_the_others_are_stored(
        self, invoke: Invoke, web: LabWeb, table: Schema
    ) -> None:
        """The reply names the page by the URL that the event gave."""
        missing = f"{web.origins[0]}/missing?key=k1"
        reply = invoke({"urls": [missing, *web.urls(2)]})

        assert (reply["status"], reply["totals"]["failed"]) == ("partial", 1)
        (failure,) = reply["failures"]
        assert (failure["url"], failure["error"]["type"]) == (missing, "PageNotFound")
        assert "k1" not in failure["error"]["message"]
        assert table.rows() == stored(0, 1)

    def test_an_events_own_rows_table_and_settings_win(
        self, invoke: Invoke, function: str, web: LabWeb, table: Schema, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.delenv("GATHER_ROWS")
        monkeypatch.setenv("GATHER_EVENT_ROWS", f"{SHIPPED}:broken,{SHIPPED}:items")
        monkeypatch.setenv("GATHER_TABLE", "no_table")
        reply = invoke(
            {
                "urls": web.urls(3),
                "rows": f"{SHIPPED}:items",
                "table": {"name": "t", "schema": table.name, "key": ["id"]},
                "config": {"max_concurrency": 2, "fetch": {"user_agent": "me"}},
            }
        )

        assert reply["status"] == "stored"
        assert reply["totals"]["slots"] == (1 if function == "web_sequential" else 2)
        assert table.rows() == stored(0, 1, 2)

    @pytest.mark.parametrize(
        ("function_of_rows", "expected_message"),
        [("broken", "ZeroDivisionError"), ("leaving", "SystemExit: 3"), ("panicking", "Panic: odd")],
    )
    def test_what_the_function_of_rows_raises_is_its_pages_failure(
        self,
        invoke: Invoke,
        web: LabWeb,
        monkeypatch: pytest.MonkeyPatch,
        function_of_rows: str,
        expected_message: str,
    ) -> None:
        monkeypatch.setenv("GATHER_ROWS", f"{SHIPPED}:{function_of_rows}")
        reply = invoke({"urls": web.urls(2)})

        assert (reply["status"], reply["totals"]["failed"]) == ("failed", 2)
        error = reply["failures"][0]["error"]
        assert error["type"] == "TransformError"
        assert expected_message in error["message"]

    def test_what_the_time_is_too_short_for_the_next_event_finishes(
        self, invoke: Invoke, slow_web: LabWeb, table: Schema
    ) -> None:
        urls = slow_web.urls(80)
        event = {"config": {"fetch": {"connections_per_host": 1}}}
        reply = invoke(event | {"urls": urls}, seconds=SHORT)

        assert reply["status"] == "pending"
        left = reply["pending"]
        assert 0 < len(left) < 80
        assert "pending_omitted" not in reply
        assert reply["totals"]["stored"] == 80 - len(left)
        assert len(table.rows()) == 10 * (80 - len(left))

        reply = invoke(event | {"urls": left}, seconds=900)
        assert reply["status"] == "stored"
        assert table.rows() == stored(*range(80))

    def test_a_warm_function_keeps_its_connection_to_postgres(
        self, invoke: Invoke, web: LabWeb, table: Schema
    ) -> None:
        invoke({"urls": web.urls(1)})
        kept = table.backends()
        invoke({"urls": web.urls(1)})

        assert set(kept) <= set(table.backends())


class TestListed:
    """URLs from an object. One function suffices, because the engine does not affect how a list is read."""

    @pytest.fixture
    def function(self) -> str:
        return "web_threads"

    @pytest.fixture
    def put(self, lab: LabS3, target: str) -> Callable[[bytes], str]:
        def put(content: bytes) -> str:
            place = S3Object(target, "lists/today.txt")
            with borrow_session("sequential") as session:
                session.write(place, content, "text/plain", TransferConfig())
            return place.uri

        return put

    def test_a_list_has_one_url_a_line(
        self, invoke: Invoke, web: LabWeb, table: Schema, put: Callable[[bytes], str]
    ) -> None:
        one, other = web.urls(2)
        uri = put(f"\ufeff# of today\r\n{one}\r\n\n   {other}  \n#{one}9\n".encode())
        reply = invoke({"urls_from": uri})

        assert (reply["status"], reply["totals"]["pages"]) == ("stored", 2)
        assert table.rows() == stored(0, 1)

    def test_a_schedule_gathers_what_the_environment_lists(
        self,
        invoke: Invoke,
        web: LabWeb,
        table: Schema,
        put: Callable[[bytes], str],
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        monkeypatch.setenv("GATHER_URLS", put("\n".join(web.urls(3)).encode()))

        assert invoke(sample("eventbridge_scheduled"))["status"] == "stored"
        assert table.rows() == stored(0, 1, 2)

    @pytest.mark.parametrize(
        ("content", "expected_message"),
        [
            (b"", "lists no URLs: write one per line"),
            (b"# none today", "lists no URLs"),
            (b"http://a.example/\n\xff\xfe", "is not a list of URLs: line 2 is not UTF-8"),
            (b"http://a.example/\n" * 50_001, "lists 50,001 URLs: one event takes 50,000 at most"),
            (b"#" * (8 * 2**20 + 1), "has 8388609 bytes: it may have at most 8388608"),
        ],
    )
    def test_what_is_no_list_is_rejected(
        self, invoke: Invoke, put: Callable[[bytes], str], content: bytes, expected_message: str
    ) -> None:
        reply = invoke({"urls_from": put(content)})

        assert (reply["status"], reply["error"]["type"]) == ("rejected", "InputError")
        assert f"/lists/today.txt {expected_message}" in reply["error"]["message"]

    def test_a_list_that_is_not_there_is_reported(self, invoke: Invoke, target: str) -> None:
        reply = invoke({"urls_from": f"s3://{target}/none.txt"})

        assert (reply["status"], reply["error"]["type"]) == ("rejected", "SourceNotFound")

    def test_what_the_deployment_does_not_read_is_not_asked_for(
        self, invoke: Invoke, lab: LabS3, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("DEPLOYED_SOURCE", "s3://mine/lists/")
        lab.reset_stats()
        reply = invoke({"urls_from": "s3://others/list.txt"})

        assert (reply["status"], reply["error"]["type"]) == ("rejected", "InputError")
        assert "s3://others/list.txt is outside s3://mine/lists/" in reply["error"]["message"]
        assert lab.stats()["operations"] == {}


class TestUnread:
    """If the trigger ignores replies, an error says what was not stored, so that alarms and queues see it."""

    @pytest.fixture
    def function(self) -> str:
        return "web_threads"

    @pytest.fixture
    def raised(self, invoke: Invoke) -> Callable[..., str]:
        def raised(event: Event, seconds: float = SECONDS) -> str:
            with pytest.raises(AsyncstreamError) as caught:
                invoke(event, seconds)
            return f"{type(caught.value).__name__}: {caught.value}"

        return raised

    def test_a_schedule_gathers_what_the_environment_says(
        self, invoke: Invoke, web: LabWeb, table: Schema, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("GATHER_URLS", " ".join(web.urls(2)))

        assert invoke(sample("eventbridge_scheduled"))["status"] == "stored"
        assert invoke(sample("eventbridge_scheduled") | {"source": "aws.scheduler", "detail": "{}"})
        assert table.rows() == stored(0, 1)

    @pytest.mark.parametrize("unread", ["schedule", "must_succeed"])
    def test_what_was_not_stored_is_raised_without_queries(
        self,
        raised: Callable[..., str],
        web: LabWeb,
        table: Schema,
        monkeypatch: pytest.MonkeyPatch,
        unread: str,
    ) -> None:
        urls = [f"{web.origins[0]}/missing?key=k1", f"{web.origins[1]}/missing", *web.urls(1)]
        monkeypatch.setenv("GATHER_URLS", " ".join(urls))
        failure = raised(sample("eventbridge_scheduled") if unread == "schedule" else {"must_succeed": True})

        assert failure.startswith("GatheringFailed: 2 of 3 pages failed; ")
        assert f"; {web.origins[0]}/missing: PageNotFound: " in failure
        assert f"; {web.origins[1]}/missing: PageNotFound: " in failure
        assert "k1" not in failure
        assert table.rows() == stored(0)

    def test_pages_left_when_time_is_up_raise_an_error(
        self, raised: Callable[..., str], slow_web: LabWeb, table: Schema, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Each run starts at a random page, so these are not always the last pages of the list."""
        monkeypatch.setenv("GATHER_URLS", " ".join(slow_web.urls(80)))
        monkeypatch.setenv("GATHER_MAX_CONCURRENCY", "1")
        monkeypatch.setattr(random, "randrange", lambda count: count - 2)

        failure = raised(sample("eventbridge_scheduled"), SHORT)
        assert failure.startswith("GatheringFailed: 0 of 80 pages failed, ")
        assert failure.endswith(" did not finish in time")
        written = table.rows()
        assert {*stored(78, 79, 0)} <= {*written}
        assert stored(77)[0] not in written

    @pytest.mark.parametrize(
        ("event", "expected_message"),
        [
            (sample("eventbridge_scheduled"), "InputError: there are no URLs"),
            (
                {"must_succeed": True, "more": 1},
                "InputError: the event is malformed at $: Object contains unk",
            ),
            (object_created("b", "k"), "InputError: an event 'Object Created' from 'aws.s3' is not handled"),
            (s3_put("b", "k"), "InputError: an event None from None is not handled"),
        ],
        ids=["no URLs", "malformed", "S3 by EventBridge", "S3"],
    )
    def test_what_nothing_was_done_for_is_raised(
        self, raised: Callable[..., str], event: Event, expected_message: str
    ) -> None:
        assert raised(event).startswith(expected_message)


def test_figures_are_logged_for_metrics(
    invoke: Invoke, web: LabWeb, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("AWS_LAMBDA_FUNCTION_NAME", "web")
    invoke({"urls": [*web.urls(2), f"{web.origins[0]}/missing"]})

    line = json.loads(capsys.readouterr().out)
    assert {name: line[name] for name in ("PagesStored", "PagesFailed", "RowsWritten")} == {
        "PagesStored": 2, "PagesFailed": 1, "RowsWritten": 20
    }  # fmt: skip
