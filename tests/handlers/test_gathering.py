"""The three functions that gather pages, invoked as Lambda does: what they store, reply and raise."""

import json
import logging
from collections.abc import Callable, Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from invocations import Context
from servers.postgres import PASSWORD, Schema
from trigger_events import object_created, s3_put, sample

from asyncstream import AsyncstreamError, S3Object, TransferConfig
from asyncstream.gathering.replies import schema as reply_schema
from asyncstream.gathering.session import close_kept_sessions
from asyncstream.lab.s3 import LabS3
from asyncstream.lab.web import LabWeb, WebModel
from asyncstream.lab.web.model import rows_of_page
from asyncstream.session import kept_session

HANDLERS = ("web_sequential", "web_threads", "web_asyncio")
SHIPPED = "rows_shipped_with_the_function"
CODE = """
import json

def items(page):
    return json.loads(page.body)

def broken(page):
    return 1 / 0

async def awaited(page):
    return []

def of_two(page, more):
    return []

NUMBER = 5
"""
SECONDS = 20.0
# Of which 1.5 are for fetching: the others are kept for the reply and for writing.
SHORT = 4.0

Event = Any
Invoke = Callable[..., dict[str, Any]]
_reply = jsonschema.Draft202012Validator(reply_schema() | {"$ref": "#/$defs/GatherReply"})


@pytest.fixture(scope="module")
def web() -> Iterator[LabWeb]:
    """Pages that are there at once, of two hosts."""
    with LabWeb(WebModel(), hosts=2) as web:
        yield web


@pytest.fixture(scope="module")
def slow_web() -> Iterator[LabWeb]:
    """Pages that take 40 ms each."""
    with LabWeb(WebModel(latency=0.04, sigma=0), hosts=1) as web:
        yield web


@pytest.fixture(scope="module", autouse=True)
def sessions() -> Iterator[None]:
    """Connections are kept warm from test to test, as from event to event."""
    yield
    close_kept_sessions()


@pytest.fixture(params=HANDLERS)
def function(request: pytest.FixtureRequest) -> str:
    """Each Lambda function in turn, by its module's name."""
    return str(request.param)


@pytest.fixture
def table(schema: Schema) -> Schema:
    """A table for the items of the lab's pages."""
    schema.create("id bigint PRIMARY KEY, page int, name text, price numeric")
    return schema


@pytest.fixture(autouse=True)
def deployed(table: Schema, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The environment of a deployed function, and a module beside the handlers."""
    (tmp_path / f"{SHIPPED}.py").write_text(CODE)
    monkeypatch.syspath_prepend(tmp_path)
    environment = {
        "POSTGRES_DSN": table.server.dsn(),
        "GATHER_ALLOWED_NETWORKS": ",".join(LabWeb.ALLOWED_NETWORKS),
        "GATHER_ROWS": f"{SHIPPED}:items",
        "GATHER_TABLE": f"{table.name}.t",
        "GATHER_KEY": "id",
    }
    for name, value in environment.items():
        monkeypatch.setenv(name, value)


@pytest.fixture
def invoke(function: str) -> Invoke:
    """Call the handler with an event as it arrives, parsed from JSON; its reply, valid by the schema."""
    handler = import_module(f"handlers.{function}").handler

    def invoke(event: Event, seconds: float = SECONDS) -> dict[str, Any]:
        context = Context(int(seconds * 1000))
        reply: dict[str, Any] = json.loads(json.dumps(handler(json.loads(json.dumps(event)), context)))
        _reply.validate(reply)
        return reply

    return invoke


def stored(*numbers: int) -> list[tuple[Any, ...]]:
    """What the table has of the pages of these numbers."""
    return [tuple(row.values()) for number in numbers for row in rows_of_page(number)]


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

    def test_a_page_that_fails_is_told_as_it_was_named_and_the_others_are_stored(
        self, invoke: Invoke, web: LabWeb, table: Schema
    ) -> None:
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
        monkeypatch.setenv("GATHER_ROWS", "no_module:at_all")
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

    def test_what_the_function_of_rows_raises_is_its_pages_failure(self, invoke: Invoke, web: LabWeb) -> None:
        reply = invoke({"urls": web.urls(1), "rows": f"{SHIPPED}:broken"})

        assert reply["status"] == "failed"
        error = reply["failures"][0]["error"]
        assert error["type"] == "TransformError"
        assert "ZeroDivisionError" in error["message"]

    def test_what_the_time_is_too_short_for_the_next_event_finishes(
        self, invoke: Invoke, slow_web: LabWeb, table: Schema
    ) -> None:
        """One page at a time, as there is one host: so the time is for some of them with any engine."""
        urls = slow_web.urls(80)
        event = {"config": {"fetch": {"connections_per_host": 1}}}
        reply = invoke(event | {"urls": urls}, seconds=SHORT)

        assert reply["status"] == "pending"
        left = reply["pending"]
        assert 0 < len(left) < 80
        assert "pending_omitted" not in reply
        assert reply["totals"]["stored"] == 80 - len(left)
        assert len(table.rows()) == 10 * (80 - len(left))

        reply = invoke(event | {"urls": left})
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
    """URLs from an object, by one function: which engine fetches them is no matter of the list."""

    @pytest.fixture
    def function(self) -> str:
        return "web_threads"

    @pytest.fixture
    def put(self, lab: LabS3, target: str) -> Callable[[bytes], str]:
        def put(content: bytes) -> str:
            place = S3Object(target, "lists/today.txt")
            kept_session("sequential").write(place, content, "text/plain", TransferConfig())
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
        ("content", "told"),
        [
            (b"", "lists no URLs: it is to have one a line"),
            (b"# none today", "lists no URLs"),
            (b"http://a.example/\n\xff\xfe", "is no list of URLs: line 2 is not UTF-8"),
            (b"http://a.example/\n" * 50_001, "lists 50,001 URLs: one event takes 50,000 at most"),
            (b"#" * (8 * 2**20 + 1), "has 8388609 bytes: it may have 8388608 at most"),
        ],
    )
    def test_what_is_no_list_is_rejected(
        self, invoke: Invoke, put: Callable[[bytes], str], content: bytes, told: str
    ) -> None:
        reply = invoke({"urls_from": put(content)})

        assert (reply["status"], reply["error"]["type"]) == ("rejected", "InputError")
        assert f"/lists/today.txt {told}" in reply["error"]["message"]

    def test_a_list_that_is_not_there_is_told(self, invoke: Invoke, target: str) -> None:
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


PAGE = "http://127.0.0.1:9/page"
REJECTED = {
    "no event": (None, "InputError", "at $: Expected `object`, got `null`"),
    "no URLs": ({}, "InputError", "no URLs: give `urls` or `urls_from` in the event, or set GATHER_URLS"),
    "empty list": ({"urls": []}, "InputError", "at $.urls: Expected `array` of length >= 1"),
    "both": ({"urls": [PAGE], "urls_from": "s3://raw/a"}, "InputError", "has both `urls` and `urls_from`"),
    "no URI": ({"urls_from": "raw/a"}, "InputError", "at $.urls_from: 'raw/a' is not an S3 URI"),
    "no text": ({"urls": [5]}, "InputError", "at $.urls[0]: Expected `str`, got `int`"),
    "unknown field": ({"url": PAGE}, "InputError", "at $: Object contains unknown field `url`"),
    "no name": ({"urls": [PAGE], "rows": "items"}, "ConfigError", "rows 'items' must be a function of yours"),
    "no module": (
        {"urls": [PAGE], "rows": "no_module:f"},
        "ConfigError",
        "rows 'no_module:f' cannot be imported: ModuleNotFoundError",
    ),
    "asynchronous": (
        {"urls": [PAGE], "rows": f"{SHIPPED}:awaited"},
        "ConfigError",
        "is asynchronous: give a plain function",
    ),
    "two arguments": (
        {"urls": [PAGE], "rows": f"{SHIPPED}:of_two"},
        "ConfigError",
        "cannot be called with a page alone: missing a required argument: 'more'",
    ),
    "no function": (
        {"urls": [PAGE], "rows": f"{SHIPPED}:NUMBER"},
        "ConfigError",
        "is a int: name a function",
    ),
    "no key": (
        {"urls": [PAGE], "table": {"name": "t", "key": []}},
        "InputError",
        "at $.table: the table 't' needs a key",
    ),
    "no table": ({"urls": [PAGE], "table": {"name": "none", "key": ["id"]}}, "TableNotFound", '"none"'),
    "a column more": (
        {"urls": [PAGE], "table": {"name": "t", "key": ["id"], "columns": ["colour"]}},
        "TableMismatch",
        "has no column 'colour'",
    ),
    "too much memory for a page": (
        {"urls": [PAGE], "config": {"memory_limit": 1000}},
        "ConfigError",
        "memory_limit of 1000 bytes is too small",
    ),
    "a setting too large": (
        {"urls": [PAGE], "config": {"fetch": {"max_redirects": 21}}},
        "InputError",
        "at $.config.fetch.max_redirects: Expected `int` <= 20",
    ),
    "networks": (
        {"urls": [PAGE], "config": {"fetch": {"allowed_networks": ["169.254.0.0/16"]}}},
        "InputError",
        "at $.config.fetch: allowed_networks is the deployment's to say (GATHER_ALLOWED_NETWORKS)",
    ),
    "a database": (
        {"urls": [PAGE], "config": {"database": {"host": "elsewhere"}}},
        "InputError",
        "at $.config: database is the deployment's to say (POSTGRES_*)",
    ),
}


class TestRejected:
    @pytest.mark.parametrize(("event", "kind", "message"), REJECTED.values(), ids=REJECTED)
    def test_a_wrong_event_is_told_what_is_wrong(
        self, function: str, invoke: Invoke, table: Schema, event: Event, kind: str, message: str
    ) -> None:
        if isinstance(event, dict) and "table" in event:
            event = event | {"table": event["table"] | {"schema": table.name}}
        reply = invoke(event)

        assert set(reply) == {"status", "engine", "error"}
        assert (reply["status"], reply["engine"]) == ("rejected", function.removeprefix("web_"))
        assert reply["error"]["type"] == kind
        assert message in reply["error"]["message"]

    @pytest.mark.parametrize(
        ("variable", "value", "message"),
        [
            ("GATHER_MAX_CONCURRENCY", "many", "the variables GATHER_*: "),
            ("GATHER_KEY", "", "GATHER_TABLE and GATHER_KEY go together"),
            ("GATHER_URLS", "s3://raw", "GATHER_URLS='s3://raw': 's3://raw' names no object"),
            ("GATHER_ALLOWED_NETWORKS", "169.254.0.0/16", "cannot be allowed: 169.254.0.0/16 is link-local"),
            ("POSTGRES_PORT", "x", "the variables POSTGRES_*: "),
            ("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", "1", "the function's 1 MB leave nothing"),
        ],
    )
    def test_a_wrong_environment_is_told_what_is_wrong(
        self, invoke: Invoke, monkeypatch: pytest.MonkeyPatch, variable: str, value: str, message: str
    ) -> None:
        monkeypatch.setenv(variable, value)
        reply = invoke({"urls": [PAGE]})

        assert (reply["status"], reply["error"]["type"]) == ("rejected", "ConfigError")
        assert message in reply["error"]["message"]

    def test_nothing_begins_when_the_invocations_time_is_nearly_over(
        self, invoke: Invoke, web: LabWeb
    ) -> None:
        reply = invoke({"urls": web.urls(1)}, seconds=0.4)

        assert (reply["status"], reply["error"]["type"]) == ("rejected", "DeadlineExceeded")


class TestDatabase:
    """What is wrong with the database is told before any page is fetched, and never the password."""

    @pytest.mark.parametrize(
        ("options", "kind", "told"),
        [
            ({"password": "WrongPasswordThatNobodyMaySee"}, "AccessDenied", "authentication failed"),
            ({"dbname": "none"}, "DatabaseError", 'database "none" does not exist'),
            ({"sslmode": "require"}, "ServerNotTrusted", "does not support SSL"),
            ({"port": "1"}, "DeadlineExceeded", "no connection"),
        ],
        ids=["password", "database", "without TLS", "down"],
    )
    def test_a_database_that_cannot_be_used_rejects_the_event(
        self,
        invoke: Invoke,
        web: LabWeb,
        table: Schema,
        monkeypatch: pytest.MonkeyPatch,
        caplog: pytest.LogCaptureFixture,
        capfd: pytest.CaptureFixture[str],
        options: dict[str, Any],
        kind: str,
        told: str,
    ) -> None:
        caplog.set_level(logging.DEBUG)
        monkeypatch.setenv("POSTGRES_DSN", table.server.dsn(**options))
        web.reset()
        reply = invoke({"urls": web.urls(1)}, seconds=3)

        assert (reply["status"], reply["error"]["type"]) == ("rejected", kind)
        assert told in reply["error"]["message"]
        assert sum(web.counts()["requests"].values()) == 0
        shown = f"{reply} {caplog.text} {capfd.readouterr()}"
        assert PASSWORD not in shown
        assert "WrongPassword" not in shown


class TestUnread:
    """Where nobody reads the reply, an error tells what was not stored: alarms and queues see that."""

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
        told = raised(sample("eventbridge_scheduled") if unread == "schedule" else {"must_succeed": True})

        assert told.startswith(
            f"GatheringFailed: 2 of 3 pages failed; {web.origins[0]}/missing: PageNotFound: "
        )
        assert f"; {web.origins[1]}/missing: PageNotFound: " in told
        assert "k1" not in told
        assert table.rows() == stored(0)

    def test_what_the_time_was_too_short_for_is_raised(
        self, raised: Callable[..., str], slow_web: LabWeb, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("GATHER_URLS", " ".join(slow_web.urls(80)))
        monkeypatch.setenv("GATHER_CONNECTIONS_PER_HOST", "1")

        told = raised(sample("eventbridge_scheduled"), SHORT)
        assert told.startswith("GatheringFailed: 0 of 80 pages failed, ")
        assert told.endswith(" were left as the time was up")

    @pytest.mark.parametrize(
        ("event", "told"),
        [
            (sample("eventbridge_scheduled"), "InputError: there are no URLs"),
            (
                {"must_succeed": True, "more": 1},
                "InputError: the event is malformed at $: Object contains unk",
            ),
            (object_created("b", "k"), "InputError: an event 'Object Created' from 'aws.s3' is not handled"),
            (s3_put("b", "k"), "InputError: an event None from None is not handled"),
        ],
        ids=["no URLs", "malformed", "of S3 by EventBridge", "of S3"],
    )
    def test_what_nothing_was_done_for_is_raised(
        self, raised: Callable[..., str], event: Event, told: str
    ) -> None:
        assert raised(event).startswith(told)


def test_figures_are_logged_for_metrics(
    invoke: Invoke, web: LabWeb, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("AWS_LAMBDA_FUNCTION_NAME", "web")
    invoke({"urls": [*web.urls(2), f"{web.origins[0]}/missing"]})

    line = json.loads(capsys.readouterr().out)
    assert {name: line[name] for name in ("PagesStored", "PagesFailed", "RowsWritten")} == {
        "PagesStored": 2, "PagesFailed": 1, "RowsWritten": 20
    }  # fmt: skip
