"""Any S3 as the testbed of a comparison, given by its URL, or AWS's own.

The testbed uploads the sources as streams and reads results back as streams. At the end it deletes the
objects, the uploads that a killed run left open, and the buckets that it created.
"""

import io
import os
import secrets
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from typing import Any

import boto3
from botocore.config import Config
from botocore.exceptions import ClientError

from asyncstream.engines.closing import Closing
from asyncstream.errors import S3Error
from asyncstream.lab.compare.harness import ServerCounts
from asyncstream.lab.compare.sdk_errors import one_line_errors
from asyncstream.lab.compare.testbed import users_settings
from asyncstream.lab.compare.verification import Checksum
from asyncstream.lab.s3.checksums import crc64nvme, encoded_crc64nvme
from asyncstream.lab.s3.content import SyntheticContent
from asyncstream.locations import S3Prefix

CONNECTIONS = 8
READ_SIZE = 1 << 20
KEYS_A_DELETE = 1000  # the maximum of DeleteObjects


class SyntheticFile(io.RawIOBase):
    """Synthetic content as a file object for uploads."""

    def __init__(self, content: SyntheticContent) -> None:
        super().__init__()
        self._content = content
        self._position = 0

    def readable(self) -> bool:
        """Return True."""
        return True

    def readinto(self, buffer: Any) -> int:
        """Fill the buffer from one slice of the content, and return the number of bytes."""
        stop = min(self._position + len(buffer), self._content.size)
        for part in self._content.slices(self._position, stop):
            read = os.preadv(part.descriptor, [memoryview(buffer)[: part.length]], part.offset)
            self._position += read
            return read
        return 0


class EndpointTestbed(Closing):
    """A bucket for sources and one for results at an endpoint; a context manager.

    Args:
        endpoint_url: the URL of the S3. None: the one that boto3 finds in its configuration.
        source, destination: prefixes in existing buckets; None: create a bucket and delete it afterwards.

    Raises:
        S3Error: raised by all methods, for any error of the SDK.
    """

    def __init__(
        self, endpoint_url: str | None, source: S3Prefix | None = None, destination: S3Prefix | None = None
    ) -> None:
        self._run = f"asyncstream-compare-{secrets.token_hex(6)}"
        self._endpoint_url = endpoint_url
        self._sources: dict[str, SyntheticContent] = {}
        self._undo = ExitStack()
        try:
            with one_line_errors(S3Error):
                config = Config(max_pool_connections=4 * CONNECTIONS, s3={"payload_signing_enabled": False})
                self._s3 = boto3.client("s3", endpoint_url=endpoint_url, config=config)
                self._undo.callback(self._s3.close)
                self._source_prefix = self._place(source, "source")
                self._destination_prefix = self._place(destination, "destination")
        except BaseException:
            self._undo.close()
            raise

    def close(self) -> None:
        """Delete everything that the testbed created."""
        with one_line_errors(S3Error):
            self._undo.close()

    def environment(self) -> Mapping[str, str]:
        """See `Testbed`. Includes all variables that boto3 may need to find the user's credentials."""
        own = {name: value for name, value in os.environ.items() if name.startswith("AWS_") or name == "HOME"}
        endpoint = {"AWS_ENDPOINT_URL_S3": self._endpoint_url} if self._endpoint_url else {}
        return own | users_settings() | endpoint

    def source(self, prefix: str) -> str:
        """See `Testbed`."""
        return self._source_prefix.uri + prefix

    def destination(self, prefix: str) -> str:
        """See `Testbed`."""
        return self._destination_prefix.uri + prefix

    def put_sources(self, prefix: str, names: Sequence[str], size: int) -> None:
        """See `Testbed`. The key seeds its content."""
        contents = {f"{prefix}{name}": SyntheticContent(f"{prefix}{name}", size) for name in names}
        self._sources |= contents

        def upload(key: str) -> None:
            body = SyntheticFile(contents[key])
            self._s3.upload_fileobj(body, self._source_prefix.bucket, self._source_prefix.prefix + key)

        with one_line_errors(S3Error):
            _each(upload, contents)

    def checksum_sources(self, prefix: str) -> dict[str, Checksum]:
        """See `Testbed`. The checksums are computed, not read back."""
        return {
            key.removeprefix(prefix): Checksum(content.size, encoded_crc64nvme(content.crc64nvme()))
            for key, content in self._sources.items()
            if key.startswith(prefix)
        }

    def checksum_results(self, prefix: str) -> dict[str, Checksum]:
        """See `Testbed`. Uses the server's checksums, or reads objects back if it has none."""
        whole = self._destination_prefix.prefix + prefix
        with one_line_errors(S3Error):
            keys = list(self._keys(self._destination_prefix.bucket, whole))
            checksums = _each(self._checksum, keys)
        return dict(zip((key.removeprefix(whole) for key in keys), checksums, strict=True))

    def start_run(self, prefix: str, seed: int) -> None:
        """See `Testbed`. Nothing to start."""

    def end_run(self) -> ServerCounts:
        """See `Testbed`. Only the client can count requests to this S3."""
        return ServerCounts()

    def discard(self, prefix: str) -> int:
        """See `Testbed`."""
        with one_line_errors(S3Error):
            return self._delete(self._destination_prefix.bucket, self._destination_prefix.prefix + prefix)

    def _place(self, named: S3Prefix | None, purpose: str) -> S3Prefix:
        """Return a prefix for this comparison, and register its deletion."""
        if named is not None:
            self._s3.head_bucket(Bucket=named.bucket)
            place = S3Prefix(named.bucket, f"{named.prefix}{self._run}/")
        else:
            place = S3Prefix(f"{self._run}-{purpose}", f"{self._run}/")
            region = self._s3.meta.region_name
            where = {"CreateBucketConfiguration": {"LocationConstraint": region}}
            self._s3.create_bucket(
                Bucket=place.bucket, **({} if region in ("us-east-1", "aws-global") else where)
            )
            self._undo.callback(self._s3.delete_bucket, Bucket=place.bucket)
        self._undo.callback(self._delete, place.bucket, place.prefix)
        return place

    def _delete(self, bucket: str, prefix: str) -> int:
        """Delete everything under a prefix, and return the number of aborted uploads."""
        uploads = list(self._open_uploads(bucket, prefix))
        for upload in uploads:
            self._s3.abort_multipart_upload(Bucket=bucket, Key=upload["Key"], UploadId=upload["UploadId"])
        keys = self._with_versions(bucket, prefix)
        for start in range(0, len(keys), KEYS_A_DELETE):
            batch = {"Objects": keys[start : start + KEYS_A_DELETE], "Quiet": True}
            failed = self._s3.delete_objects(Bucket=bucket, Delete=batch).get("Errors")
            if failed:  # a reply with status 200 may contain errors
                first_error = f"{failed[0].get('Code')}: {failed[0].get('Message')}"
                raise S3Error(
                    f"{len(failed):,} objects under s3://{bucket}/{prefix} were not deleted: {first_error}"
                )
        return len(uploads)

    def _with_versions(self, bucket: str, prefix: str) -> list[dict[str, str]]:
        """Return all versions to delete. In a versioned bucket they would otherwise stay and cost money."""
        try:
            pages = self._s3.get_paginator("list_object_versions").paginate(Bucket=bucket, Prefix=prefix)
            return [
                {"Key": row["Key"], "VersionId": row["VersionId"]}
                for page in pages
                for kind in ("Versions", "DeleteMarkers")
                for row in page.get(kind, ())
            ]
        except ClientError:  # the server has no versions, or denies listing them
            return [{"Key": key} for key in self._keys(bucket, prefix)]

    def _keys(self, bucket: str, prefix: str) -> Iterator[str]:
        pages = self._s3.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix)
        return (row["Key"] for page in pages for row in page.get("Contents", ()))

    def _open_uploads(self, bucket: str, prefix: str) -> Iterator[Any]:
        pages = self._s3.get_paginator("list_multipart_uploads").paginate(Bucket=bucket, Prefix=prefix)
        return (upload for page in pages for upload in page.get("Uploads", ()))

    def _checksum(self, key: str) -> Checksum:
        # S3 computes this checksum for every object, unless the writer chose another. It saves reading the
        # object.
        head = self._s3.head_object(Bucket=self._destination_prefix.bucket, Key=key, ChecksumMode="ENABLED")
        if head.get("ChecksumType") == "FULL_OBJECT" and "ChecksumCRC64NVME" in head:
            return Checksum(head["ContentLength"], head["ChecksumCRC64NVME"])
        body = self._s3.get_object(Bucket=self._destination_prefix.bucket, Key=key)["Body"]
        size = crc = 0
        for chunk in body.iter_chunks(READ_SIZE):
            size, crc = size + len(chunk), crc64nvme(chunk, crc)
        return Checksum(size, encoded_crc64nvme(crc))


def _each(work: Callable[[str], Any], keys: Any) -> list[Any]:
    """Call `work` with every key, `CONNECTIONS` at a time, and return the results."""
    with ThreadPoolExecutor(CONNECTIONS) as pool:
        try:
            return list(pool.map(work, keys))
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise
