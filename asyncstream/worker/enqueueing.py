"""`enqueue`: fills a queue with the batches of a run."""

from collections.abc import Callable, Iterable

from asyncstream.errors import NothingToTransfer
from asyncstream.locations import S3Object, S3Prefix
from asyncstream.pipeline.session import TransferSession
from asyncstream.runs.places import Run
from asyncstream.runs.run_store import RunStore
from asyncstream.worker.messages import encode_body


def enqueue(store: RunStore, session: TransferSession, send_all: Callable[[Iterable[str]], int]) -> int:
    """Send one message for each batch that is not done, and return their number.

    A batch whose message is still in the queue gets another one, and the second one is found done.

    Args:
        store: the objects of the run.
        session: lists them. Both of its ends are that of the run.
        send_all: sends messages with these bodies, and returns their number.

    Raises:
        SourceNotFound: the run was not planned, or not to the end.
        AsyncstreamError: the run cannot be read, or the queue takes no messages.
    """
    run = store.run
    store.read_description()
    done = _list_numbers(session, run, run.done_prefix)
    planned = _list_numbers(session, run, run.plan_prefix)
    return send_all(encode_body(run, number) for number in sorted(planned - done))


def _list_numbers(session: TransferSession, run: Run, prefix: S3Prefix) -> set[int]:
    """Return the numbers of the objects under a prefix. The other end of the pair is not touched."""
    try:
        jobs = session.plan([(prefix, run.prefix)])
    except NothingToTransfer:
        return set()
    names = (job.source.key.rpartition("/")[2] for job in jobs if isinstance(job.source, S3Object))
    stems = (name.partition(".")[0] for name in names)
    return {int(stem) for stem in stems if stem.isdecimal()}
