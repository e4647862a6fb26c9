"""One run in a worker process: a transfer through the proxy, its warnings, and the verdicts."""

from __future__ import annotations

import gc
import logging
import sys
import threading
import time
import warnings
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from asyncstream import S3Object, TransferConfig, TransferSession

from .choices import COPIES, Choices, choose, other_bytes, source_bytes
from .faults import DAMAGES, fault_for
from .judge import Ended, Error, Expected, Found, Storage, judge
from .proxy import FaultProxy, Wire

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from asyncstream import FileResult, TransferReport

# This many seconds after the deadline, the proxy cuts the connections. A dripping reply could otherwise take
# minutes.
_LATEST = 6.0
# Seconds in which the server finishes the last requests after their connections are closed.
_SETTLE = 0.05


@dataclass(frozen=True)
class Run:
    """A judged run. `played` has the faults that struck: request, fault, and where."""

    choices: Choices
    ended: Ended
    verdicts: Mapping[str, str]
    played: tuple[tuple[str, str, str], ...]


def run(seed: int, urls: Mapping[str, str]) -> Run:
    """Run and judge the transfer of a seed; `urls` has the servers' URLs by name."""
    choices = choose(seed)
    storage = Storage(urls[choices.server])
    source = source_bytes(choices.size)
    previous = {"none": None, "other": other_bytes(choices.size), "copy": source}[choices.previous]
    if previous is not None:
        storage.put(COPIES, choices.target, previous)
    ended, wire = _transfer(choices, urls[choices.server])
    time.sleep(_SETTLE)
    uploads = [upload for key, upload in storage.uploads(COPIES) if key == choices.target]
    stored = storage.get(COPIES, choices.target)
    expected = Expected(
        source,
        previous,
        gzipped="transform" in choices.settings,
        unprotected=_unprotected(choices, wire),
        keeps_previous=choices.settings["if_exists"] == "fail",
    )
    verdicts = judge(ended, expected, Found(stored, tuple(uploads)))
    for upload in uploads:
        storage.abort(COPIES, choices.target, upload)
    storage.delete(COPIES, choices.target)
    return Run(choices, ended, verdicts, tuple(wire.played))


def _unprotected(choices: Choices, wire: Wire) -> frozenset[str]:
    """Return the sides on which bytes were damaged and no checksum was sent or asked for."""
    damaged = {DAMAGES[fault] for _, fault, _ in wire.played if fault in DAMAGES}
    if choices.settings["verify"] == "off":
        return frozenset(damaged)
    # A HEAD of an object that the destination already has says nothing about the bytes in transit.
    checked_operations = {
        "read": {(operation, choices.bucket) for operation in ("GetObject", "HeadObject")},
        "write": {
            (operation, COPIES) for operation in ("PutObject", "UploadPart", "CompleteMultipartUpload")
        },
    }
    return frozenset(side for side in damaged if not checked_operations[side] & wire.with_checksum)


def _transfer(choices: Choices, url: str) -> tuple[Ended, Wire]:
    faults = partial(fault_for, choices.seed, rate=choices.rate, names=choices.faults)
    config = TransferConfig(**choices.settings)
    with _listening() as complaints, FaultProxy(urlsplit(url).port or 80, faults) as proxy:
        with TransferSession(choices.engine, endpoint_url=proxy.url) as session:
            session.open(config)
            cut = threading.Timer((config.deadline or 0.0) + _LATEST, proxy.cut)
            cut.start()
            try:
                ended, report = _timed(choices, config, session)
            finally:
                cut.cancel()
                cut.join()
        gc.collect()
    if report is not None and report.continuations:
        with _listening() as more:
            ended = replace(ended, continued=_continue(choices, config, report, url))
            gc.collect()
        complaints += more
    return replace(ended, complaints=tuple(complaints)), proxy.wire


def _timed(
    choices: Choices, config: TransferConfig, session: TransferSession
) -> tuple[Ended, TransferReport | None]:
    deadline = config.deadline or 0.0
    started = time.monotonic()
    try:
        report = session.transfer([_pair(choices)], config)
    except Exception as error:  # noqa: BLE001 - the judge decides about it
        return Ended("raised", time.monotonic() - started, deadline, _error(error)), None
    seconds = time.monotonic() - started
    [file] = report.files
    return _ended(file, seconds, deadline), report


def _ended(file: FileResult, seconds: float, deadline: float) -> Ended:
    left = file.continuation.upload_id if file.continuation is not None else ""
    kinds = {"read": file.read_verified, "write": file.write_verified}
    verified = frozenset(side for side, kind in kinds.items() if kind is not None)
    upload_left = file.upload_left or ""
    return Ended(file.status, seconds, deadline, _error(file.error), file.bytes, verified, left, upload_left)


def _error(error: BaseException | None) -> Error | None:
    if error is None:
        return None
    kinds = tuple(kind.__name__ for kind in type(error).__mro__)
    return Error(kinds, str(error), tuple(getattr(error, "__notes__", ())))


def _continue(choices: Choices, config: TransferConfig, report: TransferReport, url: str) -> str:
    """Continue what the run left pending, without the proxy or a deadline; return the file's status."""
    with TransferSession(choices.engine, endpoint_url=url) as session:
        calm = config.override({"deadline": None, "at_deadline": "fail", "stall_timeout": 15.0})
        [file] = session.transfer([_pair(choices)], calm, continuations=report.continuations).files
    return f"{file.status} {_error(file.error) or ''}".strip()


def _pair(choices: Choices) -> tuple[S3Object, S3Object]:
    return S3Object(choices.bucket, choices.source), S3Object(COPIES, choices.target)


@contextmanager
def _listening() -> Iterator[list[str]]:
    """Collect warnings, log records from WARNING on, and exceptions that Python drops."""
    heard: list[str] = []

    class Ear(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            heard.append(f"{record.name}: {record.getMessage()}")

    def dropped(unraisable: Any) -> None:
        where = getattr(unraisable, "object", None) or getattr(unraisable, "thread", None)
        heard.append(f"dropped: {unraisable.exc_type.__name__}: {unraisable.exc_value} in {where!r}")

    ear = Ear(logging.WARNING)
    hooks = sys.unraisablehook, threading.excepthook
    logging.getLogger().addHandler(ear)
    sys.unraisablehook, threading.excepthook = dropped, dropped
    try:
        with warnings.catch_warnings(record=True) as warned:
            warnings.simplefilter("always")
            yield heard
        heard += [
            f"{each.category.__name__}: {each.message} ({each.filename}:{each.lineno})" for each in warned
        ]
    finally:
        sys.unraisablehook, threading.excepthook = hooks
        logging.getLogger().removeHandler(ear)
