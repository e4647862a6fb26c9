"""Fixtures for the functions that gather pages: pages, a table, and invocations as Lambda makes them."""

import json
import threading
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import jsonschema
import pytest

from asyncstream.engines.keeping import close_all_kept
from asyncstream.gathering import session
from asyncstream.gathering.gather_reply import schema as reply_schema
from asyncstream.lab.web import LabWeb, WebModel
from tests.handlers.invocations import Context
from tests.servers.postgres import Schema

from .gatherings import CODE, HANDLERS, LEAVES, SECONDS, SHIPPED, SHORT, Event, Invoke

_reply = jsonschema.Draft202012Validator(reply_schema() | {"$ref": "#/$defs/GatherReply"})


@pytest.fixture(scope="package")
def web() -> Iterator[LabWeb]:
    """Start a web of two hosts whose pages answer at once."""
    with LabWeb(WebModel(), hosts=2) as web:
        yield web


@pytest.fixture
def slow_web(web: LabWeb, monkeypatch: pytest.MonkeyPatch) -> LabWeb:
    """Return a web whose pages take ten seconds each by the gatherer's clock, until fetching must stop."""
    one_by_one = threading.Lock()

    def seconds() -> float:
        with one_by_one:
            asked: int = sum(web.counts()["requests"].values())
            return min(10.0 * asked, SHORT - 20)

    web.reset()
    monkeypatch.setattr(session, "time", SimpleNamespace(monotonic=seconds))
    return web


@pytest.fixture(scope="package", autouse=True)
def sessions() -> Iterator[None]:
    """Keep connections warm from test to test, as between events."""
    yield
    close_all_kept()


@pytest.fixture(params=HANDLERS)
def function(request: pytest.FixtureRequest) -> str:
    """Return the module name of each Lambda function in turn."""
    return str(request.param)


@pytest.fixture
def table(schema: Schema) -> Schema:
    """Return a schema with a table for the items of the lab's pages."""
    schema.create("id bigint PRIMARY KEY, page int, name text, price numeric")
    return schema


@pytest.fixture(autouse=True)
def deployed(table: Schema, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Set the environment of a deployed function, and store a module beside the handlers."""
    (tmp_path / f"{SHIPPED}.py").write_text(CODE)
    (tmp_path / f"{LEAVES}.py").write_text("raise SystemExit(3)\n")
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
    """Return a function that calls the handler with an event parsed from JSON and returns its valid reply."""
    handler = import_module(f"handlers.{function}").handler

    def invoke(event: Event, seconds: float = SECONDS) -> dict[str, Any]:
        context = Context(int(seconds * 1000))
        reply: dict[str, Any] = json.loads(json.dumps(handler(json.loads(json.dumps(event)), context)))
        _reply.validate(reply)
        return reply

    return invoke
