"""`enqueue`: fills a queue with the batches of a run."""

from collections.abc import Callable, Iterable

from asyncstream.runs.finishing import left_batches
from asyncstream.runs.run_store import RunStore
from asyncstream.worker.messages import encode_body


def enqueue(store: RunStore, send_all: Callable[[Iterable[str]], int]) -> int:
    """Send one message for each batch that is not done, and return their number.

    A batch whose message is still in the queue gets another one, and the second one is found done.

    Args:
        store: the objects of the run.
        send_all: sends messages with these bodies, and returns their number.

    Raises:
        SourceNotFound: the run was not planned, or not to the end.
        AsyncstreamError: the run cannot be read, or the queue takes no messages.
    """
    # Not those under plan/: a plan that was killed, and repeated, may have left batches that are not its own.
    left = left_batches(store, store.read_description())
    return send_all(encode_body(store.run, number) for number in left)
