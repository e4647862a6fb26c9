"""The arguments of `asyncstream enqueue` and `worker`, and their `--help`."""

import argparse

from asyncstream.cli.ends import add_ends
from asyncstream.cli.transfer_arguments import add_limits
from asyncstream.engines import ENGINES
from asyncstream.pipeline.session import DEFAULT_ENGINE

ENQUEUE_HELP = """\
Send a message to an SQS queue for each batch of a run that is not done: {"batch": "s3://.../000123.jsonl"}.

Workers (`asyncstream worker`) take these messages. To run failed batches again, run the command again."""

WORKER_HELP = """\
Take batches of runs from an SQS queue, one after the other, and move their files.

A message is deleted when its batch is done. If files fail for good, or if the message is wrong, it goes to
the dead letters with the attributes `reason` and `batch`. While a batch runs, its message stays hidden from
other workers. If the worker is killed, the message becomes visible again, and another worker continues the
batch.

SIGTERM or Ctrl-C ends it: files stop where they are, the outcome is written, and the message becomes visible
at once. A second signal ends it at once. Exit codes are then 143 and 130. With --once, the exit code is 1 if
a message went to the dead letters, or stays in the queue. It does not wait for messages that are hidden: if
another worker was killed, start it again after --visibility. `asyncstream finish RUN` says what is left.

Environment variables such as ASYNCSTREAM_MAX_CONCURRENCY set the defaults of these settings."""


def add_enqueue(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `asyncstream enqueue`."""
    parser.add_argument("run_prefix", metavar="RUN", help="s3://bucket/RUN/, where the run was planned")
    _add_queue(parser)
    parser.add_argument("--endpoint-url", metavar="URL", help="URL of an S3 other than AWS's")
    add_ends(parser)


def add_worker(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `asyncstream worker`."""
    _add_queue(parser)
    add = parser.add_argument
    add(
        "--dead-letters",
        metavar="URL",
        help="queue for messages that cannot be done; default: that of the queue's redrive policy",
    )
    add(
        "--run",
        dest="only",
        metavar="RUN",
        help="s3://bucket/RUN/, the only run whose batches are allowed; it may transform by your function",
    )
    add(
        "--once",
        action="store_true",
        help="end when no message is left, also none that another worker has, instead of waiting for ever",
    )
    add(
        "--visibility",
        type=int,
        default=120,
        metavar="SECONDS",
        help="how long another worker waits for the message of a killed one; default: %(default)s",
    )
    add(
        "--max-receives",
        type=int,
        default=5,
        metavar="N",
        help="how often a message is received without an outcome, as of a batch that kills its workers, "
        "before it goes to the dead letters; default: %(default)s",
    )
    add("--engine", choices=ENGINES, default=DEFAULT_ENGINE, help="default: %(default)s")
    add_limits(parser)
    add("--endpoint-url", metavar="URL", help="URL of an S3 other than AWS's, for both ends")
    add_ends(parser)


def _add_queue(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--queue", required=True, metavar="URL", help="URL of a standard queue of SQS")
    parser.add_argument(
        "--sqs-endpoint-url",
        metavar="URL",
        help="URL of an SQS other than AWS's; default: AWS_ENDPOINT_URL_SQS, then AWS_ENDPOINT_URL",
    )
