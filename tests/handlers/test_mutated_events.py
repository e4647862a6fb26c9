"""5,000 randomly changed events: no traceback, no access outside the prefixes, only documented replies.

`EVENTS_SEED=50000` in the environment starts at another seed, `EVENTS_COUNT=20000` sets the number of events.
"""

import logging
import os
import re
import traceback
from collections.abc import Callable, Iterator
from importlib import import_module
from typing import Any

import pytest
from awslambdaric.lambda_runtime_marshaller import Encoder

from asyncstream import errors
from asyncstream.engines.keeping import close_all_kept
from asyncstream.errors import AsyncstreamError, ConfigError
from asyncstream.gathering import invoke as gathering
from asyncstream.transforms import naming
from tests.fake_runs import FakeRuns

from .invocations import Context
from .mutations import FILE_EVENTS, KEY, PAGE_EVENTS, mutated
from .witness import DESTINATION, SOURCE, WitnessS3

FIRST, COUNT = (
    int(os.environ.get(f"EVENTS_{name}", default)) for name, default in (("SEED", 0), ("COUNT", 5_000))
)
# The functions take turns. The last three gather pages.
FUNCTIONS = (
    *("sequential", "threads", "threads_multipart", "asyncio_multipart"),
    *("web_sequential", "web_threads", "web_asyncio"),
)
# At most this many events are listed in a failure.
MAX_LISTED = 20
# Lambda's limit of a reply; that of a Lambda destination or a state; the most that one invocation may log.
LARGEST_REPLY, LARGEST_INLINE, LARGEST_LOG = 6 << 20, 256 << 10, 256 << 10
# Fields of each kind of reply: to direct events, S3, a queue, Batch Operations; of each step of a run; of an
# error.
KINDS = (
    *(
        {"status", "engine"},
        {"copied", "bytes"},
        {"batchItemFailures"},
        {"results"},
        {"run", "pending"},
        {"estimate", "whole"},
        {"batch", "again"},
    ),
    {"errorType", "errorMessage"},
)
# Names of errors in replies, results of Batch Operations and logs.
NAMED = re.compile(r'(?:"type": "|"resultString": "|failed: )(\w+)(?=[:"])')
KNOWN = {name for name, kind in vars(errors).items() if isinstance(kind, type)}


class Log(logging.Handler):
    """Log lines as bytes, as Lambda writes them."""

    def __init__(self) -> None:
        super().__init__()
        self.lines: list[bytes] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(self.format(record).encode())


@pytest.fixture
def log() -> Iterator[Log]:
    handler = Log()
    logging.getLogger().addHandler(handler)
    yield handler
    logging.getLogger().removeHandler(handler)


@pytest.fixture
def imported(monkeypatch: pytest.MonkeyPatch) -> set[str]:
    """Collect the names of the functions that handlers import. Each import returns an empty function."""
    names: set[str] = set()

    def find(spec: str, *_: Any) -> Any:
        if ":" not in spec:
            raise ConfigError("not a function")
        names.add(spec)
        return lambda _: []

    monkeypatch.setattr(naming, "import_object", find)
    monkeypatch.setattr(gathering, "import_object", find)
    return names


@pytest.fixture(autouse=True)
def deployed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Set the environment besides the prefixes. The runtime client writes UTF-8 since Python 3.12."""
    environment = {
        "AWS_EXECUTION_ENV": "AWS_Lambda_python3.13",
        "AWS_LAMBDA_FUNCTION_NAME": "function",
        "ASYNCSTREAM_UNPACK": "zip",
        "DEPLOYED_TRIGGER": SOURCE,
        "GATHER_EVENT_ROWS": "shipped:items",
        "GATHER_TABLE": "t",
        "GATHER_KEY": "id",
        "GATHER_URLS": f"{SOURCE}list.txt",
    }
    for name, value in environment.items():
        monkeypatch.setenv(name, value)


def call_handler(handler: Callable[..., Any], event: Any) -> Any:
    """Return what Lambda's runtime client sends: the reply, or the error if the trigger ignores replies."""
    try:
        return handler(event, Context(300_000))
    except AsyncstreamError as error:
        if handler.__module__ == gathering.__name__ and not is_unread(event):
            raise
        return {"errorType": type(error).__name__, "errorMessage": str(error)}


def is_unread(event: Any) -> bool:
    is_from_service = isinstance(event, dict) and {"Records", "detail-type"} & event.keys()
    return bool(is_from_service) or (isinstance(event, dict) and event.get("must_succeed") is True)


def check_answer(answer: Any, lines: list[bytes]) -> None:
    sent = Encoder().encode(answer).encode()
    shown = f"{sent!r:.300} {lines!r:.600}"
    logged = b"\n".join(lines)

    assert any(kind <= answer.keys() for kind in KINDS), shown
    assert not {*NAMED.findall((sent + b"\n" + logged).decode())} - KNOWN, shown
    assert len(sent) <= (LARGEST_INLINE if "status" in answer else LARGEST_REPLY), shown
    assert len(logged) <= LARGEST_LOG, shown
    assert KEY.encode() not in sent + logged, shown


def test_mutated_events_are_answered_as_documented(
    witness: WitnessS3, runs: FakeRuns, imported: set[str], log: Log, capsys: pytest.CaptureFixture[str]
) -> None:
    handlers = [import_module(f"handlers.{name}").handler for name in FUNCTIONS]
    close_all_kept()  # importing the handlers created clients
    wrong: list[str] = []
    for seed in range(FIRST, FIRST + COUNT):
        number = seed % len(handlers)
        event = mutated(PAGE_EVENTS if FUNCTIONS[number].startswith("web") else FILE_EVENTS, seed)
        log.lines.clear()
        try:
            check_answer(call_handler(handlers[number], event), log.lines)
        except BaseException as error:  # noqa: BLE001 - handlers must not raise any other exception
            place = traceback.format_tb(error.__traceback__)[-1].strip()
            wrong.append(f"seed {seed}: {type(error).__name__}: {error!s:.300} {place}")

    assert not wrong, "\n".join([f"{len(wrong)} of {COUNT} events", *wrong[:MAX_LISTED]])
    assert KEY not in "".join(capsys.readouterr())
    assert imported <= {"shipped:items"}
    assert not [uri for uri in witness.read if not uri.startswith((SOURCE, DESTINATION))]
    assert not [uri for uri in witness.written if not uri.startswith(DESTINATION)]
    assert not [uri for uri in witness.looked_at if not uri.startswith((SOURCE, DESTINATION))]
    # Otherwise the test exercised nothing.
    assert min(len(witness.read), len(witness.written)) > 5
    unpacked = {f"{DESTINATION}b.csv", f"{DESTINATION}a/b.csv", f"{DESTINATION}many-files/run/todo.json"}
    assert unpacked | {f"{DESTINATION}ab", f"{DESTINATION}a.tar"} <= witness.written
