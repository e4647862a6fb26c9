"""The commands `plan`, `estimate`, `run`, `finish` and `abort`."""

import argparse
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec

from asyncstream import prices
from asyncstream.cli.ends import open_store_session, read_access
from asyncstream.cli.output import say
from asyncstream.cli.transfer_arguments import LIMITS, given_settings
from asyncstream.errors import InputError, NothingToTransfer
from asyncstream.pipeline.config import TransferConfig
from asyncstream.pipeline.session import TransferSession
from asyncstream.runs.calibration import calibrate
from asyncstream.runs.costs import Speeds
from asyncstream.runs.counting import count_run
from asyncstream.runs.estimating import estimate as estimate_totals
from asyncstream.runs.estimating import render
from asyncstream.runs.finishing import abort_run, finish_run, left_batches
from asyncstream.runs.moving import Worker, move_to_end
from asyncstream.runs.outcomes import BatchOutcome, RowLeft
from asyncstream.runs.places import Run
from asyncstream.runs.plan_requests import PlanRequest
from asyncstream.runs.planning import plan_run
from asyncstream.runs.run_store import RunStore
from asyncstream.units import rounded

OK, FAILED = 0, 1
# Failures that `run` names of each batch.
MOST_SAID = 10
# What AWS Batch and Kubernetes call the number of a job in its array.
_ARRAY_INDEXES = ("AWS_BATCH_JOB_ARRAY_INDEX", "JOB_COMPLETION_INDEX")


def plan(options: argparse.Namespace) -> int:
    """Run `asyncstream plan` and return the exit code."""
    settings = given_settings(options, ("if_exists", "copy_tags", "transform"))
    asked = _asked(options, Speeds(memory_mb=options.memory, slots=options.concurrency), settings)
    with _open(options) as (store, worker):
        progress = plan_run(store, asked, worker)
    totals = progress.totals
    left_out = "".join(
        f", {number:,} {reason.replace('_', ' ')} left out"
        for reason, number in sorted(totals.left_out.items())
    )
    say(
        f"{totals.files:,} files, {rounded(totals.bytes)}, in {totals.batches:,} batches, {totals.giants:,} "
        f"files cut{left_out}: next, asyncstream run {store.run.uri}"
    )
    return OK


def estimate(options: argparse.Namespace) -> int:
    """Run `asyncstream estimate` and return the exit code."""
    speeds = Speeds(memory_mb=options.memory, slots=options.concurrency)
    if options.report is not None:
        speeds = calibrate(_read_json(options.report), options.way, speeds)
    settings = given_settings(options, ("transform",))
    table = prices.load(None if options.prices is None else Path(options.prices))
    asked = _asked(options, speeds, settings)
    with _open_worker(options) as worker:
        progress = count_run(asked, worker)
    if not progress.totals.files:
        raise NothingToTransfer(f"nothing is stored under {asked.source}")
    print(render(estimate_totals(progress.totals, asked.functions, speeds, table)))  # noqa: T201 - the result
    return OK


def run(options: argparse.Namespace) -> int:
    """Run `asyncstream run` and return the exit code."""
    share = None if options.shard is None else _parse_shard(options.shard)
    number = options.batch
    if number is None and share is None:
        number = _array_index()
    with _open(options) as (store, worker):
        chosen = _batches(store, number) if share is None else _shard(store, *share)
        outcomes = [_move(store, number, worker) for number in chosen]
    if not outcomes:
        which = "of this shard " if share else ""
        say(f"all batches {which}are done: next, asyncstream finish {store.run.uri}")
        return OK
    left = sum(len(outcome.left) for outcome in outcomes)
    say(f"{len(outcomes):,} batches, {left:,} files left")
    return FAILED if left else OK


def finish(options: argparse.Namespace) -> int:
    """Run `asyncstream finish` and return the exit code."""
    with _open(options) as (store, worker):
        report = finish_run(store, worker)
    for failed in report.failures:
        _say_failed(failed)
    say(
        f"{report.batches - report.batches_left:,} of {report.batches:,} batches done, {report.completed:,} "
        f"giant files complete, {report.failed:,} failures"
    )
    if report.batches_left:
        say(f"{report.batches_left:,} batches are not done: run asyncstream run {store.run.uri}")
    return OK if report.whole else FAILED


def abort(options: argparse.Namespace) -> int:
    """Run `asyncstream abort` and return the exit code."""
    with _open(options) as (store, worker):
        abort_run(store, worker)
    say(f"the uploads of {store.run.uri} are dropped")
    return OK


def _move(store: RunStore, number: int, worker: Worker) -> BatchOutcome:
    """Move a batch, and say how it ended."""
    outcome = move_to_end(store, number, worker)
    say(
        f"batch {number}: {outcome.files:,} files, {rounded(outcome.bytes)}, {outcome.seconds:.1f} s, "
        f"{len(outcome.left):,} left"
    )
    for failed in outcome.failed[:MOST_SAID]:
        _say_failed(failed)
    if len(outcome.failed) > MOST_SAID:
        say(f"and {len(outcome.failed) - MOST_SAID:,} more, named in {store.run.left(number)}")
    return outcome


def _say_failed(failed: RowLeft) -> None:
    reason = "" if failed.error is None else f": {failed.error.type}: {failed.error.message}"
    say(f"FAILED  {failed.source} -> {failed.destination}{reason}")


def _batches(store: RunStore, number: int | None) -> list[int]:
    """Return the number of one batch, or those of all that are not done.

    Raises:
        InputError: there is no such batch.
    """
    description = store.read_description()
    count = description.totals.batches
    if number is None:
        return left_batches(store, description)
    if not 0 <= number < count:
        raise InputError(f"batch {number} does not exist: {store.run.uri} has {count:,}, from 0 on")
    return [number]


def _shard(store: RunStore, share: int, shares: int) -> list[int]:
    """Return the numbers of a share of the batches, of those that are not done."""
    left = left_batches(store, store.read_description())
    return [number for number in left if number % shares == share]


def _array_index() -> int | None:
    for name in _ARRAY_INDEXES:
        text = os.environ.get(name)
        if text is not None:
            if not text.isdecimal():
                raise InputError(f"{name}={text!r:.100} is not the number of a batch")
            return int(text)
    return None


def _parse_shard(text: str) -> tuple[int, int]:
    match = re.fullmatch(r"(\d{1,6})/(\d{1,6})", text)
    if match is None or int(match[1]) >= int(match[2]):
        raise InputError(f"--shard {text!r} is not a share: write 0/20 to 19/20")
    return int(match[1]), int(match[2])


def _read_json(path: str) -> dict[str, Any]:
    try:
        found: dict[str, Any] = msgspec.json.decode(Path(path).read_bytes(), type=dict)
    except (OSError, msgspec.DecodeError) as error:
        raise InputError(f"--report {path}: {error}") from None
    return found


def _asked(options: argparse.Namespace, speeds: Speeds, settings: dict[str, object]) -> PlanRequest:
    return PlanRequest(
        source=options.source,
        destination=options.destination,
        kind=options.kind,
        settings=settings,
        functions=options.functions,
        speeds=speeds,
        strip=options.strip,
        select=options.select,
        ranges=options.ranges,
        header=options.header,
        join=options.join,
        copy_parts=getattr(options, "copy_parts", False),
    )


@contextmanager
def _open(options: argparse.Namespace) -> Iterator[tuple[RunStore, Worker]]:
    """Provide the run, whose objects are at the end of the destination, and what moves files."""
    with _open_worker(options) as worker, open_store_session(options, options.engine) as session:
        yield RunStore(Run.from_uri(options.run_prefix), session, worker.timed), worker


@contextmanager
def _open_worker(options: argparse.Namespace) -> Iterator[Worker]:
    config = TransferConfig.from_env().override(given_settings(options, LIMITS))
    ends = {end: read_access(options, end) for end in ("source", "destination")}
    with TransferSession(options.engine, endpoint_url=options.endpoint_url, **ends) as session:
        yield Worker(session, lambda: config)
