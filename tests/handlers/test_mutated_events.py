"""5,000 events changed at random by a seed: no traceback, nothing outside the prefixes, documented replies.

`EVENTS_SEED=50000` in the environment has other events, `EVENTS_COUNT=20000` more of them.
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
from invocations import Context
from mutations import KEY, OF_FILES, OF_PAGES, mutated
from witness import DESTINATION, SOURCE, WitnessS3

from asyncstream import errors
from asyncstream.engines.keeping import close_all_kept
from asyncstream.errors import AsyncstreamError, ConfigError
from asyncstream.gathering import invoke as gathering
from asyncstream.transforms import naming

FIRST, COUNT = (
    int(os.environ.get(f"EVENTS_{name}", default)) for name, default in (("SEED", 0), ("COUNT", 5_000))
)
# In turn. The last three gather pages.
FUNCTIONS = (
    *("sequential", "threads", "threads_multipart", "asyncio_multipart"),
    *("web_sequential", "web_threads", "web_asyncio"),
)
# Events of which a failure tells.
MOST_TOLD = 20
# Lambda's limit of a reply; that of a Lambda destination and of a state; what one invocation may log.
LARGEST_REPLY, LARGEST_INLINE, LARGEST_LOG = 6 << 20, 256 << 10, 256 << 10
# What a reply of each kind has: to direct events, S3, a queue, Batch Operations, a Map; and an error.
KINDS = (
    *({"status", "engine"}, {"copied", "bytes"}, {"batchItemFailures"}, {"results"}, {"Items", "errors"}),
    {"errorType", "errorMessage"},
)
# Names of errors, as replies, results of Batch Operations and logs have them.
NAMED = re.compile(r'(?:"type": "|"resultString": "|failed: )(\w+)(?=[:"])')
KNOWN = {name for name, kind in vars(errors).items() if isinstance(kind, type)}


class Log(logging.Handler):
    """Lines as bytes, which is how Lambda writes them."""

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
    """The functions that were looked for. Each is found: it makes nothing."""
    names: set[str] = set()

    def find(spec: str, *_: Any) -> Any:
        if ":" not in spec:
            raise ConfigError("not a function")
        names.add(spec)
        return lambda _: []

    monkeypatch.setattr(naming, "imported", find)
    monkeypatch.setattr(gathering, "imported", find)
    return names


@pytest.fixture(autouse=True)
def deployed(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the environment says beside the prefixes. The runtime client writes UTF-8, as from 3.12 on."""
    environment = {
        "AWS_EXECUTION_ENV": "AWS_Lambda_python3.13",
        "AWS_LAMBDA_FUNCTION_NAME": "function",
        "DEPLOYED_TRIGGER": SOURCE,
        "GATHER_EVENT_ROWS": "shipped:items",
        "GATHER_TABLE": "t",
        "GATHER_KEY": "id",
        "GATHER_URLS": f"{SOURCE}list.txt",
    }
    for name, value in environment.items():
        monkeypatch.setenv(name, value)


def answer_of(handler: Callable[..., Any], event: Any) -> Any:
    """What Lambda's runtime client sends: the reply, or the error if the trigger reads no reply."""
    try:
        return handler(event, Context(300_000))
    except AsyncstreamError as error:
        if handler.func.__module__ == gathering.__name__ and not is_unread(event):  # type: ignore[attr-defined]
            raise
        return {"errorType": type(error).__name__, "errorMessage": str(error)}


def is_unread(event: Any) -> bool:
    of_service = isinstance(event, dict) and {"Records", "detail-type"} & event.keys()
    return bool(of_service) or (isinstance(event, dict) and event.get("must_succeed") is True)


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
    witness: WitnessS3, imported: set[str], log: Log, capsys: pytest.CaptureFixture[str]
) -> None:
    handlers = [import_module(f"handlers.{name}").handler for name in FUNCTIONS]
    close_all_kept()  # those that the imports have made
    wrong: list[str] = []
    for seed in range(FIRST, FIRST + COUNT):
        number = seed % len(handlers)
        event = mutated(OF_PAGES if FUNCTIONS[number].startswith("web") else OF_FILES, seed)
        log.lines.clear()
        try:
            check_answer(answer_of(handlers[number], event), log.lines)
        except BaseException as error:  # noqa: BLE001 - every kind of exception is looked for
            place = traceback.format_tb(error.__traceback__)[-1].strip()
            wrong.append(f"seed {seed}: {type(error).__name__}: {error!s:.300} {place}")

    assert not wrong, "\n".join([f"{len(wrong)} of {COUNT} events", *wrong[:MOST_TOLD]])
    assert KEY not in "".join(capsys.readouterr())
    assert imported <= {"shipped:items"}
    assert not [uri for uri in witness.read if not uri.startswith(SOURCE)]
    assert not [uri for uri in witness.written if not uri.startswith(DESTINATION)]
    assert not [uri for uri in witness.looked_at if not uri.startswith((SOURCE, DESTINATION))]
    # Else nothing was tried.
    assert min(len(witness.read), len(witness.written)) > 5
