"""What the tests of the command line share."""

import signal
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from command_line import Ended
from servers import LabServer

from asyncstream.cli import main


@pytest.fixture
def run(capfd: pytest.CaptureFixture[str]) -> Iterator[Callable[..., Ended]]:
    """Runs a command line in this process, which is much quicker."""
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
    """Starts a lab S3 of the test's own, by its network model, with the buckets `sources` and `copies`."""
    with ExitStack() as stack:

        def start(model: str, *, keep: bool = True) -> LabServer:
            server = LabServer(model=model)
            server.start(tmp_path)
            stack.callback(server.stop)
            server.lab.create_bucket("sources", keep=True)
            server.lab.create_bucket("copies", keep=keep)
            return server

        yield start
