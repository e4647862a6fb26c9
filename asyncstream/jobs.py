"""What to copy, checked before any I/O and turned into jobs; used by `session.py`."""

from collections.abc import Iterable, Mapping

from msgspec.structs import replace

from asyncstream.continuation import Continuation
from asyncstream.errors import InputError, NothingToTransfer
from asyncstream.locations import S3Object, S3Prefix
from asyncstream.ports import ListedObject
from asyncstream.tasks import Job

Pair = tuple[S3Object, S3Object] | tuple[S3Prefix, S3Prefix]


def checked(pairs: Iterable[Pair]) -> list[Pair]:
    """The pairs as a list.

    Raises:
        NothingToTransfer: there are none.
        InputError: a pair is no pair, its two sides are the same, or a destination is named twice.
    """
    pairs = list(pairs)
    if not pairs:
        raise NothingToTransfer("the list of files is empty")
    seen: set[str] = set()
    for position, pair in enumerate(pairs):
        if not isinstance(pair, tuple) or len(pair) != 2:
            raise InputError(f"files[{position}] is {pair!r}: give a pair of a source and a destination")
        source, destination = pair
        if type(source) is not type(destination) or not isinstance(source, (S3Object, S3Prefix)):
            raise InputError(f"files[{position}]: give two S3Objects, or two S3Prefixes to copy a listing")
        if source.uri == destination.uri and getattr(source, "version_id", None) is None:
            raise InputError(f"files[{position}]: source and destination are the same, {source}")
        if isinstance(destination, S3Object) and destination.version_id is not None:
            raise InputError(f"files[{position}]: a destination cannot name a version ({destination})")
        if isinstance(destination, S3Object):
            if destination.uri in seen:
                raise InputError(f"files[{position}]: the destination {destination} is named twice")
            seen.add(destination.uri)
    return pairs


def of_listing(listed: Iterable[ListedObject], source: S3Prefix, destination: S3Prefix) -> list[Job]:
    """The jobs of one listed prefix; sizes and ETags are those of the listing.

    Raises:
        NothingToTransfer: nothing is stored under it.
        InputError: a key would come to be empty.
    """
    jobs = [_job(row, source, destination) for row in listed]
    if not jobs:
        raise NothingToTransfer(f"nothing is stored under {source}")
    return jobs


def _job(row: ListedObject, source: S3Prefix, destination: S3Prefix) -> Job:
    read = S3Object(source.bucket, row.key)
    try:
        return Job(read, source.rebase(row.key, destination), row.size, row.etag)
    except InputError as error:
        raise InputError(f"{read} cannot be written under {destination}: {error}") from None


def distinct(jobs: list[Job]) -> list[Job]:
    """The jobs, once no two of them write the same object; listings are only known by now.

    Raises:
        InputError: two jobs have the same destination.
    """
    seen: dict[S3Object, Job] = {}
    for job in jobs:
        other = seen.setdefault(job.destination, job)
        if other is not job:
            raise InputError(f"{other.source} and {job.source} would both be written to {job.destination}")
    return jobs


def continued(jobs: list[Job], continuations: Mapping[tuple[S3Object, S3Object], Continuation]) -> list[Job]:
    """The jobs, with what an earlier transfer left of them.

    Raises:
        InputError: there is a continuation of none of them.
    """
    if not continuations:
        return jobs
    unknown = continuations.keys() - {(job.source, job.destination) for job in jobs}
    if unknown:
        source, destination = next(iter(unknown))
        raise InputError(
            f"there is a continuation of {source} -> {destination}, which is not among the files"
        )
    return [replace(job, continuation=continuations.get((job.source, job.destination))) for job in jobs]
