"""`run_batch` and `batch_uris`: the calls with which any program moves a run."""

from collections.abc import Iterator
from contextlib import contextmanager

from asyncstream.engines import EngineName
from asyncstream.pipeline.config import TransferConfig
from asyncstream.pipeline.session import TransferSession, borrow_session
from asyncstream.runs.finishing import left_batches
from asyncstream.runs.moving import Worker, move_to_end
from asyncstream.runs.outcomes import BatchOutcome
from asyncstream.runs.places import Run
from asyncstream.runs.run_store import RunStore
from asyncstream.s3.access import DESTINATION_PREFIX, SOURCE_PREFIX, S3Access


def run_batch(
    uri: str, *, engine: EngineName = "threads", config: TransferConfig | None = None
) -> BatchOutcome:
    """Move what is left of one batch of a run, and return its outcome.

    Any number of processes may do this at once, in any order, and repeat it. A batch that is done is not
    moved again. Both ends are reached as ASYNCSTREAM_SOURCE_* and ASYNCSTREAM_DESTINATION_* say.

    Args:
        uri: `s3://bucket/RUN/plan/000123.jsonl`, as `batch_uris` returns it.
        engine: "sequential", "threads" or "asyncio".
        config: limits and settings, which those of the run override. Default: from ASYNCSTREAM_* variables.

    Raises:
        InputError: it is not a batch, or an object of the run is malformed.
        ConfigError: the settings are wrong.
        SourceNotFound: there is no such batch, or the plan of its run is not whole.
        AsyncstreamError: an object of the run could not be read or written.
    """
    run, number = Run.of_batch(uri)
    settings = config or TransferConfig.from_env()
    source, destination = _ends()
    with borrow_session(engine, source, destination) as session, _store(run, settings) as store:
        return move_to_end(store, number, Worker(session, lambda: settings))


def batch_uris(run_uri: str) -> list[str]:
    """Return the batches of a run that are not done, for `run_batch`.

    Args:
        run_uri: `s3://bucket/RUN/`.

    Raises:
        InputError: it is not the place of a run.
        SourceNotFound: the run was not planned, or not to the end.
    """
    run = Run.from_uri(run_uri)
    with _store(run, TransferConfig.from_env()) as store:
        return [run.batch(number).uri for number in left_batches(store, store.read_description())]


@contextmanager
def _store(run: Run, config: TransferConfig) -> Iterator[RunStore]:
    """Provide the objects of a run, which are at the end of the destination."""
    _, destination = _ends()
    with TransferSession("sequential", source=destination, destination=destination) as session:
        yield RunStore(run, session, lambda: config)


def _ends() -> tuple[S3Access, S3Access]:
    return S3Access.read(SOURCE_PREFIX), S3Access.read(DESTINATION_PREFIX)
