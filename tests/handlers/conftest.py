"""Fixtures for the Lambda functions that copy: a lab S3, and invocations as Lambda makes them."""

import itertools
import json
from collections.abc import Iterator
from importlib import import_module
from typing import Any

import jsonschema
import pytest

from asyncstream import AsyncstreamError
from asyncstream.engines.keeping import close_all_kept
from asyncstream.events.direct_reply import schema
from asyncstream.gathering import session as gathering
from asyncstream.lab.s3 import LabS3
from asyncstream.pipeline import clients
from tests.fake_runs import FakeRuns

from .deliveries import ODD, Deliver
from .invocations import BIG, Context, Invoke
from .labs import open_lab
from .witness import DESTINATION, SOURCE, WitnessPostgres, WitnessS3, WitnessWeb

HANDLERS = ("sequential", "threads", "threads_multipart", "asyncio_multipart")
_names = itertools.count()
_reply_schema = jsonschema.Draft202012Validator(schema() | {"$ref": "#/$defs/DirectReply"})


@pytest.fixture(scope="package")
def lab() -> Iterator[LabS3]:
    with open_lab() as lab:
        yield lab


@pytest.fixture
def source(lab: LabS3) -> str:
    """Create a bucket with the synthetic objects in/000000 to in/000002 and the larger big/000000."""
    name = f"source-{next(_names)}"
    lab.create_bucket(name, keep=False)
    lab.declare_many(name, "in/", 3, 1000)
    lab.declare_many(name, "big/", 1, BIG)
    return name


@pytest.fixture
def target(lab: LabS3) -> str:
    """Create a bucket to write to. It keeps its objects' bytes, because tests read reports back."""
    name = f"target-{next(_names)}"
    lab.create_bucket(name, keep=True)
    return name


@pytest.fixture(params=HANDLERS)
def function(request: pytest.FixtureRequest) -> str:
    """Return the module name of each Lambda function in turn."""
    return str(request.param)


@pytest.fixture
def invoke(function: str, lab: LabS3) -> Invoke:
    """Return a function that calls the handler with an event parsed from JSON and returns the reply.

    Every reply must be JSON and match the schema.
    """
    handler = import_module(f"handlers.{function}").handler

    def invoke(event: Any, seconds: float = 60) -> dict[str, Any]:
        context = Context(int(seconds * 1000))
        lab.reset_stats()
        reply: dict[str, Any] = json.loads(json.dumps(handler(json.loads(json.dumps(event)), context)))
        _reply_schema.validate(reply)
        return reply

    return invoke


@pytest.fixture
def witness(monkeypatch: pytest.MonkeyPatch) -> Iterator[WitnessS3]:
    """Replace S3, the web and Postgres for a deployed function; return the S3, which records its requests."""
    s3 = WitnessS3()

    async def transport(*_: Any) -> WitnessS3:
        return s3

    async def fetcher(*_: Any) -> WitnessWeb:
        return WitnessWeb()

    close_all_kept()
    monkeypatch.setattr(clients, "open_transport", transport)
    monkeypatch.setattr(gathering, "open_fetcher", fetcher)
    monkeypatch.setattr(gathering, "open_connection", lambda *_: WitnessPostgres())
    monkeypatch.setenv("DEPLOYED_SOURCE", SOURCE)
    monkeypatch.setenv("DEPLOYED_DESTINATION", DESTINATION)
    yield s3
    close_all_kept()


@pytest.fixture
def runs(monkeypatch: pytest.MonkeyPatch) -> FakeRuns:
    """Replace the steps of runs by those of a run of three batches."""
    runs = FakeRuns(3)
    runs.install(monkeypatch)
    return runs


@pytest.fixture
def deliver(function: str, lab: LabS3, source: str, target: str, monkeypatch: pytest.MonkeyPatch) -> Deliver:
    """Return a function that invokes the deployed function and returns its reply, or the error it raises."""
    monkeypatch.setenv("DEPLOYED_SOURCE", f"s3://{source}/")
    monkeypatch.setenv("DEPLOYED_DESTINATION", f"s3://{target}/out/")
    monkeypatch.setenv("DEPLOYED_TRIGGER", f"s3://{source}/in/")
    handler = import_module(f"handlers.{function}").handler
    lab.declare(source, [(ODD, 77)])

    def deliver(event: Any, seconds: float = 60) -> Any:
        lab.reset_stats()
        try:
            return json.loads(json.dumps(handler(event, Context(int(seconds * 1000)))))
        except AsyncstreamError as error:
            return f"{type(error).__name__}: {error}"

    return deliver
