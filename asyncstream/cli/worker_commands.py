"""The commands `enqueue` and `worker`."""

import argparse
from contextlib import ExitStack, closing
from typing import Any

from asyncstream.cli.ends import open_store_session, read_access
from asyncstream.cli.output import say
from asyncstream.cli.transfer_arguments import LIMITS, given_settings
from asyncstream.deadline import Notice
from asyncstream.pipeline.config import TransferConfig
from asyncstream.pipeline.session import TransferSession
from asyncstream.runs.moving import allow_all
from asyncstream.runs.places import Run
from asyncstream.runs.run_store import RunStore


def enqueue(options: argparse.Namespace) -> int:
    """Run `asyncstream enqueue` and return the exit code."""
    from asyncstream.worker.enqueueing import enqueue  # noqa: PLC0415 - other commands need no queue
    from asyncstream.worker.sqs_queue import SqsQueue  # noqa: PLC0415 - imports boto3

    run, config = Run.from_uri(options.run_prefix), TransferConfig.from_env()
    with (
        closing(SqsQueue(options.queue, options.sqs_endpoint_url)) as queue,
        open_store_session(options) as session,
    ):
        sent = enqueue(RunStore(run, session, lambda: config), queue.send_all)
    if sent:
        say(f"{sent:,} batches of {run.uri} are in the queue")
    else:
        say(f"all batches of {run.uri} are done: none was sent")
    return 0


def worker(options: argparse.Namespace) -> int:
    """Run `asyncstream worker` and return the exit code."""
    from asyncstream.worker.batches import RunBatches, refuse_functions  # noqa: PLC0415 - only here
    from asyncstream.worker.queue_worker import QueueWorker, WorkerSettings  # noqa: PLC0415
    from asyncstream.worker.sqs_queue import SqsQueue  # noqa: PLC0415 - imports boto3
    from asyncstream.worker.stopping import Stopping  # noqa: PLC0415

    settings = WorkerSettings(
        visibility=options.visibility,
        most_receives=options.max_receives,
        only=Run.from_uri(options.only) if options.only is not None else None,
        until_empty=options.once,
    )
    config = TransferConfig.from_env().override(given_settings(options, LIMITS))
    ends = {end: read_access(options, end) for end in ("source", "destination")}
    notice = Notice()
    with ExitStack() as stack:
        stopping = stack.enter_context(Stopping(notice.give))
        queue = stack.enter_context(closing(SqsQueue(options.queue, options.sqs_endpoint_url)))
        dead_letters = _dead_letters(queue, options)
        if dead_letters is None:
            say("no --dead-letters and no redrive policy: messages that cannot be done stay in the queue")
        else:
            stack.enter_context(closing(dead_letters))
        session = TransferSession(options.engine, endpoint_url=options.endpoint_url, **ends)
        store_session = open_store_session(options)
        batches = RunBatches(
            stack.enter_context(session),
            stack.enter_context(store_session),
            config,
            notice,
            # A message may name any run. The one that the user names is trusted.
            refuse_functions if settings.only is None else allow_all,
        )
        queue_worker = QueueWorker(
            queue=queue,
            dead_letters=dead_letters,
            batches=batches,
            stopping=stopping,
            settings=settings,
            say=say,
        )
        queue_worker.work()
    if stopping.signal is not None:
        return 128 + stopping.signal
    return 1 if queue_worker.ended["dead"] or queue_worker.ended["left"] else 0


def _dead_letters(queue: Any, options: argparse.Namespace) -> Any:
    """Return the queue for dead letters: the one that is named, or that of the redrive policy, or None."""
    if options.dead_letters is None:
        return queue.dead_letters()
    return type(queue)(options.dead_letters, options.sqs_endpoint_url)
