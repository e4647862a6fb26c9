"""List and abort multipart uploads that were neither completed nor aborted."""

from collections.abc import Iterable
from datetime import datetime
from functools import partial

from asyncstream.errors import S3Error
from asyncstream.locations import Folder
from asyncstream.objects import MultipartUpload, OpenUpload
from asyncstream.pipeline.context import Ends


async def list_created_before(ends: Ends, before: datetime, prefix: Folder) -> list[OpenUpload]:
    """Return the open uploads created before a time; see `TransferSession.stale_uploads`.

    Raises:
        S3Error: the pages of uploads do not end.
    """
    found: list[OpenUpload] = []
    after, seen = None, set()
    destination = ends.destination_of(prefix)
    while True:
        page, following = await ends.retrying.run(partial(destination.list_uploads, prefix, after))
        found += [upload for upload in page if upload.initiated < before]
        if following is None:
            return found
        if following in seen:
            raise S3Error(f"the list of uploads under {prefix} does not end: its pages repeat")
        seen.add(following)
        after = following


async def abort(ends: Ends, uploads: Iterable[OpenUpload | MultipartUpload]) -> None:
    """Abort these uploads; see `TransferSession.abort`."""
    for upload in uploads:
        opened = MultipartUpload(upload.target, upload.upload_id)
        await ends.retrying.run(partial(ends.destination_of(upload.target).abort_upload, opened))
