"""Fixtures that run the command line and functions with little memory."""

import logging
import signal
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from asyncstream.cli.main import main
from asyncstream.lab.s3 import LabS3
from asyncstream.lab.sandbox.limits import Limits, NoLimits, open_limits
from tests.servers import LabServer
from tests.servers.small_function import Invoke, SmallFunction

from .command_line import Ended, LabWith

logger = logging.getLogger(__name__)  # --log-cli-level=info shows the measurements


@pytest.fixture
def run(capfd: pytest.CaptureFixture[str]) -> Iterator[Callable[..., Ended]]:
    """Run a command line in this process, which is much quicker than a process of its own."""
    at_sigterm = signal.getsignal(signal.SIGTERM)

    def run(*arguments: str) -> Ended:
        try:
            code = main(arguments)
        except SystemExit as end:  # argparse
            code = int(end.code or 0)
        return Ended(code, *capfd.readouterr())

    yield run
    signal.signal(signal.SIGTERM, at_sigterm)


@pytest.fixture
def lab_of(credentials: None, tmp_path: Path) -> Iterator[Callable[..., LabServer]]:
    """Start a lab S3 for one test with a given network model and the buckets `sources` and `copies`."""
    with ExitStack() as stack:

        def start(model: str, *, keep: bool = True) -> LabServer:
            server = LabServer(model=model)
            server.start(tmp_path)
            stack.callback(server.stop)
            server.lab.create_bucket("sources", keep=True)
            server.lab.create_bucket("copies", keep=keep)
            return server

        yield start


@pytest.fixture
def lab_with(monkeypatch: pytest.MonkeyPatch) -> Iterator[LabWith]:
    """Start a lab S3 that clients find by environment variables, with so many sources of this size."""
    with ExitStack() as stack:

        def start(count: int, size: int) -> LabS3:
            lab = stack.enter_context(LabS3())
            for name, value in lab.environment().items():
                monkeypatch.setenv(name, value)
            lab.create_bucket("sources", keep=False)
            lab.create_bucket("copies", keep=False)
            lab.declare_many("sources", "x/", count, size)
            return lab

        yield start


@pytest.fixture(scope="module")
def limits() -> Limits:
    limits = open_limits()
    if isinstance(limits, NoLimits):
        pytest.skip(f"This machine has no memory groups: {limits.description}.")
    return limits


@pytest.fixture
def invoke(limits: Limits, lab_server: LabServer) -> Iterator[Invoke]:
    with ExitStack() as stack:

        def invoke(handler: str, event: Any, memory_mb: int = 128, **settings: Any) -> Any:
            environment = {**lab_server.lab.environment(), **settings.pop("environment", {})}
            function = stack.enter_context(
                SmallFunction(handler, limits, environment, memory_mb=memory_mb, **settings)
            )
            reply = function.invoke(event)
            logger.info("%s: peak %.1f MiB", handler, function.peak_bytes / (1 << 20))
            return reply

        yield invoke


@pytest.fixture(params=["sequential", "threads", "asyncio_multipart"])
def handler(request: pytest.FixtureRequest) -> str:
    return f"handlers.{request.param}.handler"
