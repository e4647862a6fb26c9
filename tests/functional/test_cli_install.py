"""The command line if rich and the lab's packages are not installed."""

import importlib.util
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from asyncstream.cli.main import main

ROOT = Path(__file__).parents[2]


@pytest.fixture(autouse=True)
def _bare_install(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    found = importlib.util.find_spec

    def find_spec(name: str, *more: Any) -> Any:
        return None if name in ("rich", "trustme") else found(name, *more)

    monkeypatch.setattr(importlib.util, "find_spec", find_spec)
    at_sigterm = signal.getsignal(signal.SIGTERM)
    yield
    signal.signal(signal.SIGTERM, at_sigterm)


def test_compare_says_what_to_install(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["compare"]) == 2
    told = capsys.readouterr().err
    assert told == "asyncstream: rich, trustme not installed: pip install 'asyncstream[lab]'\n"


def test_the_command_line_itself_needs_neither() -> None:
    code = "import sys, asyncstream.cli.main; print([m for m in ('rich', 'trustme') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


def test_a_copy_within_s3_loads_no_other_end() -> None:
    """A cold start of a function pays for each module."""
    others = (
        "asyncstream.archives",
        "asyncstream.files",
        "asyncstream.web.fetching",
        "asyncstream.gathering",
    )
    code = f"import sys, asyncstream; print([m for m in {others} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
