"""What the tests of the command line share."""

import signal
from collections.abc import Callable, Iterator

import pytest
from command_line import Ended

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
