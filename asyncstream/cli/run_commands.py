"""The commands for runs: `enqueue` and `worker`."""

import argparse
import sys
from contextlib import ExitStack, closing
from typing import Any

from asyncstream.cli.ends import read_access
from asyncstream.deadline import Notice
from asyncstream.pipeline.config import TransferConfig
from asyncstream.pipeline.session import TransferSession
from asyncstream.runs.places import Run
from asyncstream.runs.run_store import RunStore
from asyncstream.runs.running import allow_all


def enqueue(options: argparse.Namespace) -> int:
    """Run `asyncstream enqueue` and return the exit code."""
    from asyncstream.worker.enqueueing import enqueue  # noqa: PLC0415 - other commands need no queue
    from asyncstream.worker.sqs import SqsQueue  # noqa: PLC0415 - imports boto3

    run, config = Run.from_uri(options.run_prefix), TransferConfig.from_env()
    with (
        closing(SqsQueue(options.queue, options.sqs_endpoint_url)) as queue,
        _open_store_session(options) as session,
    ):
        sent = enqueue(RunStore(run, session, lambda: config), queue.send_all)
    if sent:
        _say(f"{sent:,} batches of {run.uri} are in the queue")
    else:
        _say(f"all batches of {run.uri} are done: none was sent")
    return 0


def worker(options: argparse.Namespace) -> int:
    """Run `asyncstream worker` and return the exit code."""
    from asyncstream.worker.batches import RunBatches, refuse_functions  # noqa: PLC0415 - only here
    from asyncstream.worker.sqs import SqsQueue  # noqa: PLC0415 - imports boto3
    from asyncstream.worker.stopping import Stopping  # noqa: PLC0415
    from asyncstream.worker.working import QueueWorker, WorkerSettings  # noqa: PLC0415

    settings = WorkerSettings(
        visibility=options.visibility,
        most_receives=options.max_receives,
        only=Run.from_uri(options.only) if options.only is not None else None,
        until_empty=options.once,
    )
    config = TransferConfig.from_env().override(_given_settings(options))
    ends = {end: read_access(options, end) for end in ("source", "destination")}
    notice = Notice()
    with ExitStack() as stack:
        stopping = stack.enter_context(Stopping(notice.give))
        queue = stack.enter_context(closing(SqsQueue(options.queue, options.sqs_endpoint_url)))
        dead_letters = _dead_letters(queue, options)
        if dead_letters is None:
            _say("no --dead-letters and no redrive policy: messages that cannot be done stay in the queue")
        else:
            stack.enter_context(closing(dead_letters))
        session = TransferSession(options.engine, endpoint_url=options.endpoint_url, **ends)
        store_session = _open_store_session(options)
        batches = RunBatches(
            stack.enter_context(session),
            stack.enter_context(store_session),
            config,
            notice,
            # A message may name any run. The one that the user names is trusted.
            refuse_functions if settings.only is None else allow_all,
        )
        worker = QueueWorker(
            queue=queue,
            dead_letters=dead_letters,
            batches=batches,
            stopping=stopping,
            settings=settings,
            say=_say,
        )
        worker.work()
    if stopping.signal is not None:
        return 128 + stopping.signal
    return 1 if worker.ended["dead"] or worker.ended["left"] else 0


def _dead_letters(queue: Any, options: argparse.Namespace) -> Any:
    """Return the queue for dead letters: the one that is named, or that of the redrive policy, or None."""
    if options.dead_letters is None:
        return queue.dead_letters()
    return type(queue)(options.dead_letters, options.sqs_endpoint_url)


def _open_store_session(options: argparse.Namespace) -> TransferSession:
    """Return a session for the objects of a run, which are at the end of the destination."""
    access = read_access(options, "destination")
    return TransferSession("sequential", endpoint_url=options.endpoint_url, source=access, destination=access)


def _given_settings(options: argparse.Namespace) -> dict[str, Any]:
    names = ("max_concurrency", "memory_limit")
    return {name: getattr(options, name) for name in names if getattr(options, name) is not None}


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)  # noqa: T201 - messages of the command line
