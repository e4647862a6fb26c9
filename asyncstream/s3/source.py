"""The source of a transfer in S3: list its objects, and read them."""

from typing import Any

from asyncstream.errors import AccessDenied, NotModified, S3Error, SourceNotFound
from asyncstream.locations import S3Object, S3Prefix
from asyncstream.objects import ByteRange, ListedObject, Stored
from asyncstream.ports import Opened, Source
from asyncstream.s3 import listings, replies, requests
from asyncstream.s3.regions import CHECKSUM_MODE
from asyncstream.s3.requests import Params
from asyncstream.s3.store import S3Store


class S3Source(S3Store, Source[S3Object, S3Prefix]):
    """Lists and reads objects. See `ports.Source`."""

    @property
    def downgrades(self) -> list[str]:
        """See `ports.Source`."""
        if not self._verify:
            return []
        return self._lacking(
            {CHECKSUM_MODE: "returns no checksums: the bytes read were not compared with one"}
        )

    async def open(
        self, source: S3Object, range_: ByteRange | None, etag: str | None, if_none_match: str | None = None
    ) -> Opened:
        """GET a range (None: the whole object). With `etag`, only that version is read.

        Raises:
            NotModified: the object's ETag is `if_none_match`.
            SourceNotFound, SourceChanged, AccessDenied: S3 refused the request.
        """
        params = requests.get_object_params(source, range_, etag, self._extra, if_none_match=if_none_match)
        # S3 returns the checksum of a whole object only.
        mode = requests.CHECKSUM_MODE if self._verify and range_ is None else {}
        reply = await self._pinned("GetObject", params, mode, source, etag)
        length = int(reply.get("ContentLength", 0))
        stream = self._transport.stream(reply["Body"], length, self._transfer_time_left)
        try:
            found, size = replies.extent(reply, source)
            pinned = replies.check_pinned(reply, source, etag)
            replies.check_extent(found, range_, size, source)
            if if_none_match is not None and replies.strong(pinned) == replies.strong(if_none_match):
                raise NotModified(f"{source} has not changed")  # the server ignores If-None-Match
        except BaseException:
            await stream.close()
            raise
        return Opened(
            size,
            pinned,
            found,
            replies.attributes(reply),
            stream,
            range_asked=range_ is not None,
            checksum=replies.checksum(reply) if range_ is None else None,
            composite=replies.composite(reply) if range_ is None else None,
        )

    async def head(self, source: S3Object, etag: str | None) -> Stored:
        """HEAD a source of this ETag (None: any), and return its size, checksum and origin.

        Raises:
            SourceNotFound, SourceChanged, AccessDenied: S3 refused the request.
        """
        params = requests.head_source_params(source, etag, self._extra)
        reply = await self._pinned("HeadObject", params, requests.CHECKSUM_MODE, source, etag)
        replies.check_pinned(reply, source, etag)
        return replies.stored(reply, source)

    async def part_size(self, source: S3Object, etag: str, number: int) -> int | None:
        """Return the bytes of one part that the source was uploaded in; None if the server does not say.

        A copy does not fail without the answer. A server without part numbers may refuse the request, or
        compare the part's own ETag. If the source was deleted or changed, its next GET fails.
        """
        try:
            reply = await self._call(
                "HeadObject", requests.head_part_params(source, etag, number, self._extra)
            )
        except (AccessDenied, S3Error, SourceNotFound):
            return None
        length = reply.get("ContentLength")
        return int(length) if length is not None and reply.get("ETag") == etag else None

    async def tags(self, source: S3Object) -> str:
        """Return the tags of a source in the format of PutObject's `Tagging`; empty if it has none.

        Raises:
            SourceNotFound, AccessDenied, S3Error: S3 refused the request.
        """
        reply = await self._call("GetObjectTagging", requests.tags_params(source, self._extra))
        return replies.tags(reply, source)

    async def list_page(self, prefix: S3Prefix, token: str | None) -> tuple[list[ListedObject], str | None]:
        """Return up to 1,000 objects, and the token of the next page (None: no more pages)."""
        reply = await self._call("ListObjectsV2", requests.list_page_params(prefix, token, self._extra))
        return listings.objects(reply, prefix)

    async def list_after(
        self, prefix: S3Prefix, after: str, token: str | None
    ) -> tuple[list[ListedObject], str | None]:
        """See `ports.Source`."""
        params = requests.list_page_params(prefix, token, self._extra, after=after)
        return listings.objects(await self._call("ListObjectsV2", params), prefix)

    async def list_folders(self, prefix: S3Prefix, after: str) -> list[str]:
        """See `ports.Source`."""
        params = requests.list_page_params(prefix, None, self._extra, after=after, delimiter="/")
        return listings.folders(await self._call("ListObjectsV2", params), prefix)

    async def _pinned(
        self, operation: str, params: Params, mode: Params, place: S3Object, etag: str | None
    ) -> dict[str, Any]:
        try:
            return await self._call_with(operation, params, mode, CHECKSUM_MODE)
        except S3Error as error:
            if error.status == 412 and etag is not None:
                raise replies.source_changed(place, etag) from error
            if error.status == 304:
                raise NotModified(f"{place} has not changed") from error
            raise
