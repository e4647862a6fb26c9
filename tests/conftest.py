"""Shared fixtures: the S3 servers, started on first use, and credentials that no account has."""

import contextlib
import gc
import signal
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from importlib.util import find_spec
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from xdist.remote import Producer
from xdist.scheduler import LoadScopeScheduling

from asyncstream.engines.keeping import close_all_kept
from tests.servers import SERVERS, Bucket, LabServer, S3Server
from tests.servers.base import CREDENTIALS
from tests.servers.postgres import Schema, TestServer

from . import sdk_models
from .fault_table import FaultTable
from .server_table import ServerTable

# Hypothesis by default fails an example that takes longer than 200 ms. On a busy machine any example may.
settings.register_profile(
    "untimed", settings.default, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("untimed")

# The name of the tests' asyncio cells whose event loop is uvloop's.
ON_UVLOOP = "asyncio-uvloop"
_HAS_UVLOOP = find_spec("uvloop") is not None

sdk_models.keep()  # hundreds of tests open clients


def pytest_configure(config: pytest.Config) -> None:
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        # Shells ignore SIGINT for background programs and their children. Tests send SIGINT to both.
        signal.signal(signal.SIGINT, signal.default_int_handler)
    config.addinivalue_line("markers", "needs(*capabilities): skip the servers that lack one of them")
    config.addinivalue_line(
        "markers",
        "varied(*parameters, **where): run all values of these parameters only where another parameter has a"
        " given value, such as engine='threads', or one of a tuple; run their first value everywhere else",
    )
    config.addinivalue_line(
        "markers",
        "loops: run asyncio also on uvloop; unmarked tests run it on uvloop with moto only, instead",
    )


def pytest_collection_finish() -> None:
    """Let the garbage collector skip the modules and tests: its passes over them take 7 % of the CPU."""
    gc.collect()
    gc.freeze()


class TogetherScheduling(LoadScopeScheduling):  # type: ignore[misc] # xdist has no types
    """Runs the tests of a file in one process, and all of `deploy/` too: their fixtures are slow to build."""

    def _split_scope(self, nodeid: str) -> str:
        path = nodeid.partition("::")[0]
        return "tests/deploy" if path.startswith("tests/deploy/") else path


def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> TogetherScheduling:
    """Return the scheduler that spreads tests over processes.

    xdist's own groups need an API that pytest 9.2 no longer has.
    """
    return TogetherScheduling(config, log)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print the outcome of each fault, and what each server can do, if any was tested."""
    reports = terminalreporter.getreports("passed") + terminalreporter.getreports("failed")
    properties = [each for report in reports for each in report.user_properties]
    tables: dict[str, FaultTable | ServerTable] = {
        "faults": FaultTable(properties),
        "servers": ServerTable(properties),
    }
    for title, table in tables.items():
        if table:
            terminalreporter.section(title)
            for line in table.lines():
                terminalreporter.line(line)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out what other tests show, and skip tests on servers that lack a capability, with a reason."""
    firsts: dict[Any, Any] = {}
    shown = {
        item
        for item in items
        if _is_shown_by_threads(item) or _is_shown_on_another_loop(item) or _is_shown_elsewhere(item, firsts)
    }
    config.hook.pytest_deselected(items=list(shown))
    items[:] = [item for item in items if item not in shown]
    for item in items:
        parameters = item.callspec.params if hasattr(item, "callspec") else {}
        if "server" not in parameters:
            continue
        lacks = SERVERS[parameters["server"]].lacks
        for capability in {capability for mark in item.iter_markers("needs") for capability in mark.args}:
            if capability in lacks:
                item.add_marker(pytest.mark.skip(reason=lacks[capability]))


def _is_shown_by_threads(item: pytest.Item) -> bool:
    """Return whether the test with threads, which have the same client, shows what this one does."""
    parameters = item.callspec.params if hasattr(item, "callspec") else {}
    return parameters.get("engine") == "sequential" and parameters.get("server", "lab") != "lab"


def _is_shown_on_another_loop(item: pytest.Item) -> bool:
    """Return whether this cell's event loop is not the one that its test and server run asyncio on."""
    parameters = item.callspec.params if hasattr(item, "callspec") else {}
    on_moto = parameters.get("server") == "moto" and _HAS_UVLOOP
    if parameters.get("engine") == ON_UVLOOP:
        marked = parameters.get("server", "lab") == "lab" and item.get_closest_marker("loops") is not None
        return not (on_moto or (marked and _HAS_UVLOOP))
    return parameters.get("engine") == "asyncio" and on_moto


def _is_shown_elsewhere(item: pytest.Item, firsts: dict[Any, Any]) -> bool:
    """Return whether a `varied` test leaves this cell to another engine or server.

    `firsts` has the first values of the varied parameters, by test and its other parameters.
    """
    parameters = dict(item.callspec.params) if hasattr(item, "callspec") else {}
    for mark in item.iter_markers("varied"):
        if all(parameters[name] in _as_tuple(where) for name, where in mark.kwargs.items()):
            continue
        varied = repr([parameters[name] for name in mark.args])
        others = repr(sorted((name, value) for name, value in parameters.items() if name not in mark.args))
        if firsts.setdefault((item.nodeid.partition("[")[0], mark.args, others), varied) != varied:
            return True
    return False


def _as_tuple(value: Any) -> tuple[Any, ...]:
    return value if isinstance(value, tuple) else (value,)


@pytest.fixture(scope="session")
def credentials() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        for name, value in CREDENTIALS.items():
            patch.setenv(name, value)
        for name in ("AWS_PROFILE", "AWS_SESSION_TOKEN", "AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3"):
            patch.delenv(name, raising=False)
        yield


@pytest.fixture(scope="session")
def running(
    credentials: None, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Callable[[str], S3Server]]:
    """Return a function that starts a server by its name; the server runs until the last test."""
    servers: dict[str, S3Server] = {}
    with ExitStack() as stack:

        def run(name: str) -> S3Server:
            if name not in servers:
                server = SERVERS[name]()
                server.start(tmp_path_factory.mktemp(name))
                stack.callback(server.stop)
                stack.callback(server.close_client)
                servers[name] = server
            return servers[name]

        yield run
        close_all_kept()


@pytest.fixture(scope="session")
def postgres() -> Iterator[TestServer]:
    """A real Postgres, started on first use."""
    with contextlib.closing(TestServer()) as server:
        yield server


@pytest.fixture
def schema(postgres: TestServer) -> Iterator[Schema]:
    """A schema for one test."""
    with contextlib.closing(postgres.new_schema()) as schema:
        yield schema


@pytest.fixture(params=SERVERS)
def server(request: pytest.FixtureRequest, running: Callable[[str], S3Server]) -> S3Server:
    """Each server in turn."""
    return running(request.param)


@pytest.fixture
def bucket(server: S3Server) -> Iterator[Bucket]:
    """A bucket for one test."""
    bucket = server.new_bucket()
    yield bucket
    bucket.empty()


@pytest.fixture
def lab_server(running: Callable[[str], S3Server]) -> LabServer:
    """The lab S3, for tests that do not depend on the server."""
    server = running("lab")
    assert isinstance(server, LabServer)
    return server
