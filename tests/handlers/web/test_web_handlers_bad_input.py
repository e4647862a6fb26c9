"""Wrong events, settings and databases: each function says clearly what is wrong, and requests no page."""

import logging
from typing import Any

import pytest

from asyncstream.lab.web import LabWeb
from tests.servers.postgres import PASSWORD, Schema

from .gatherings import LEAVES, SECONDS, SHIPPED, Event, Invoke

PAGE = "http://127.0.0.1:9/page"
REJECTED: dict[str, tuple[Any, str, str]] = {
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
        {"urls": [PAGE], "rows": f"{SHIPPED}:takes_two"},
        "ConfigError",
        "cannot be called with a page alone: missing a required argument: 'more'",
    ),
    "a module that exits": (
        {"urls": [PAGE], "rows": f"{LEAVES}:rows"},
        "ConfigError",
        "cannot be imported: SystemExit: 3",
    ),
    "no function": (
        {"urls": [PAGE], "rows": f"{SHIPPED}:NUMBER"},
        "ConfigError",
        "is a int: name a function",
    ),
    "no key": (
        {"urls": [PAGE], "table": {"name": "t", "key": []}},
        "InputError",
        "at $.table.key: Expected `array` of length >= 1",
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
        "at $.config.fetch: an event may not set allowed_networks: set GATHER_ALLOWED_NETWORKS",
    ),
    "headers": (
        {"urls": [PAGE], "config": {"fetch": {"headers": {}}}},
        "InputError",
        "at $.config.fetch: an event may not set headers: set GATHER_HEADERS",
    ),
    "a database": (
        {"urls": [PAGE], "config": {"database": {"host": "elsewhere"}}},
        "InputError",
        "at $.config: an event may not set database: set POSTGRES_*",
    ),
}


class TestRejected:
    @pytest.mark.parametrize(("event", "kind", "message"), REJECTED.values(), ids=REJECTED)
    def test_a_wrong_event_is_refused_with_a_reason(
        self,
        function: str,
        invoke: Invoke,
        table: Schema,
        monkeypatch: pytest.MonkeyPatch,
        event: Event,
        kind: str,
        message: str,
    ) -> None:
        if isinstance(event, dict) and "rows" in event:
            monkeypatch.delenv("GATHER_ROWS")
            monkeypatch.setenv("GATHER_EVENT_ROWS", event["rows"])
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
            ("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", "1", "the function's 1 MB leave no memory"),
        ],
    )
    def test_a_wrong_environment_is_refused_with_a_reason(
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

    @pytest.mark.parametrize("named", ["sys:exit", "code:interact", "os:system", f"{SHIPPED}:broken"])
    @pytest.mark.parametrize("own", ["", f"{SHIPPED}:items"])
    def test_a_function_that_is_not_listed_is_not_run(
        self, invoke: Invoke, web: LabWeb, monkeypatch: pytest.MonkeyPatch, named: str, own: str
    ) -> None:
        monkeypatch.setenv("GATHER_ROWS", own)
        web.reset()
        reply = invoke({"urls": web.urls(1), "rows": named})

        assert (reply["status"], reply["error"]["type"]) == ("rejected", "InputError")
        assert f"an event may not name '{named}' as `rows`" in reply["error"]["message"]
        assert sum(web.counts()["requests"].values()) == 0


class TestDatabase:
    """Errors of the database are reported before any page is fetched, and never contain the password."""

    @pytest.mark.parametrize(
        ("options", "kind", "expected_message"),
        [
            ({"password": "WrongPasswordThatMustStaySecret"}, "AccessDenied", "authentication failed"),
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
        expected_message: str,
    ) -> None:
        caplog.set_level(logging.DEBUG)
        monkeypatch.setenv("POSTGRES_DSN", table.server.dsn(**options))
        web.reset()
        # An unreachable database is tried until the time is up.
        reply = invoke({"urls": web.urls(1)}, seconds=3 if kind == "DeadlineExceeded" else SECONDS)

        assert (reply["status"], reply["error"]["type"]) == ("rejected", kind)
        assert expected_message in reply["error"]["message"]
        assert sum(web.counts()["requests"].values()) == 0
        shown = f"{reply} {caplog.text} {capfd.readouterr()}"
        assert PASSWORD not in shown
        assert "WrongPassword" not in shown
