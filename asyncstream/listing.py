"""Pairs turned into jobs, where that takes listing a prefix; used by `session.py`."""

from collections.abc import Iterable
from functools import partial

from asyncstream import jobs
from asyncstream.config import TransferConfig
from asyncstream.deadline import Deadline
from asyncstream.errors import AsyncstreamError, S3Error
from asyncstream.jobs import Pair
from asyncstream.locations import S3Object, S3Prefix
from asyncstream.ports import Engine, ListedObject
from asyncstream.retry import repeat
from asyncstream.s3.store import S3Store
from asyncstream.tasks import Job


async def found(
    pairs: Iterable[Pair], store: S3Store, engine: Engine, config: TransferConfig, deadline: Deadline
) -> list[Job]:
    """The jobs that the pairs stand for, prefixes listed.

    Raises:
        NothingToTransfer: nothing is stored under one of the prefixes.
        InputError: two files would be written to the same object.
        DeadlineExceeded, BucketNotFound, AccessDenied: one could not be listed.
        S3Error: the pages of one do not end.
    """
    work: list[Job] = []
    for source, destination in pairs:
        if isinstance(source, S3Object) and isinstance(destination, S3Object):
            work.append(Job(source, destination))
            continue
        assert isinstance(source, S3Prefix) and isinstance(destination, S3Prefix)  # noqa: S101, PT018 - checked
        listed = await _listed(source, store, engine, config, deadline)
        work += jobs.of_listing(listed, source, destination)
    return jobs.distinct(work)


async def _listed(
    prefix: S3Prefix, store: S3Store, engine: Engine, config: TransferConfig, deadline: Deadline
) -> list[ListedObject]:
    listed: dict[str, ListedObject] = {}  # by key, as a page may repeat keys of the one before
    token: str | None = None
    while True:
        deadline.check()
        known = len(listed)
        try:
            page, following = await repeat(
                partial(store.list_page, prefix, token), config.retry_policy, engine.sleep, deadline.left
            )
        except AsyncstreamError as error:
            # Given up because no time is left to wait in, or cut off by the deadline itself.
            deadline.check_retry(error, config.retry_max_delay)
            raise
        listed.update((row.key, row) for row in page)
        if following is None:
            return list(listed.values())
        if following == token or (page and len(listed) == known):
            raise S3Error(f"the listing of {prefix} does not advance: its pages repeat after {known} keys")
        token = following
