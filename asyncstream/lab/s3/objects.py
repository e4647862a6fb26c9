"""The state of the store: buckets, objects, uploads in progress."""

from __future__ import annotations

import itertools
import threading
import time
import uuid
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, NamedTuple

from asyncstream.lab.s3.checksums import (
    COMPOSITE,
    CRC64NVME,
    FULL_OBJECT,
    checksum_kind,
    composite,
    encoded_crc64nvme,
)
from asyncstream.lab.s3.content import SyntheticContent
from asyncstream.lab.s3.lab_replies import S3Error

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

    from asyncstream.lab.s3.content import Content


class Part(NamedTuple):
    """A part of an uploaded object."""

    size: int
    checksums: dict[str, str]  # by header


@dataclass(frozen=True, slots=True)
class StoredObject:
    """An object, or a part of an upload. Without content, it has only its size and checksum."""

    size: int
    crc: int
    content: Content | None
    headers: dict[str, str] = field(default_factory=dict)  # system and user metadata, as received
    parts: tuple[Part, ...] = ()  # of the multipart upload it came from
    modified: float = field(default_factory=time.time)
    checksums: dict[str, str] = field(default_factory=dict)  # the checksums that S3 returns, by header
    checksum_type: str = FULL_OBJECT

    @property
    def checksum_headers(self) -> dict[str, str]:
        """The headers with its checksum, if it has one."""
        return self.headers_for(self.checksums)

    def headers_for(self, checksums: dict[str, str]) -> dict[str, str]:
        """Return the headers for its checksums, or for those of one of its parts."""
        return {**checksums, "x-amz-checksum-type": self.checksum_type} if checksums else {}

    @property
    def checksum_elements(self) -> dict[str, str]:
        """The XML elements with its checksum, if it has one."""
        return {f"Checksum{checksum_kind(name)}": value for name, value in self.checksums.items()}

    @property
    def etag(self) -> str:
        """The quoted ETag. It is not an MD5, which would cost more CPU than everything else."""
        digits = f"{self.crc:016x}{self.size:016x}"
        return f'"{digits}-{len(self.parts)}"' if self.parts else f'"{digits}"'


@dataclass(frozen=True, slots=True)
class MultipartUpload:
    """An upload in progress."""

    key: str
    headers: dict[str, str]
    algorithm: str | None = CRC64NVME  # the header of the object's checksum
    checksum_type: str = FULL_OBJECT
    id: str = field(default_factory=lambda: uuid.uuid4().hex)
    initiated: float = field(default_factory=time.time)
    parts: dict[int, StoredObject] = field(default_factory=dict)

    @property
    def composite(self) -> bool:
        """Whether the object's checksum is computed from its parts' checksums."""
        return self.checksum_type == COMPOSITE


class Bucket:
    """A bucket.

    Args:
        name: the name of the bucket.
        keep: whether the content of uploaded objects is kept.
        checksums: False: behave as a server without checksums.
        locked: refuse uploads without a checksum, as S3 does with Object Lock and a default retention.
    """

    def __init__(self, name: str, *, keep: bool, checksums: bool = True, locked: bool = False) -> None:
        self.name = name
        self.keep = keep
        self.checksums = checksums
        self.locked = locked
        self.created = time.time()
        self.uploads: dict[str, MultipartUpload] = {}
        self._objects: dict[str, StoredObject] = {}
        self._sorted_keys: list[str] | None = None

    def sorted_keys(self) -> list[str]:
        """Return all keys in S3's order of UTF-8 bytes, which equals the order of code points."""
        if self._sorted_keys is None:
            self._sorted_keys = sorted(self._objects)
        return self._sorted_keys

    def get(self, key: str) -> StoredObject | None:
        """Return the object, or None."""
        return self._objects.get(key)

    def object(self, key: str) -> StoredObject:
        """Return the object, or raise NoSuchKey."""
        if stored := self._objects.get(key):
            return stored
        raise S3Error("NoSuchKey", "The specified key does not exist.", Key=key)

    def put(self, key: str, stored: StoredObject) -> None:
        """Add or replace an object."""
        if key not in self._objects:
            self._sorted_keys = None
        self._objects[key] = stored

    def delete(self, key: str) -> None:
        """Remove an object if it exists. As in S3, a missing one is not an error."""
        if self._objects.pop(key, None):
            self._sorted_keys = None

    def upload(self, upload_id: str, key: str) -> MultipartUpload:
        """Return an upload in progress, or raise NoSuchUpload."""
        upload = self.uploads.get(upload_id)
        if upload is None or upload.key != key:
            message = "The specified upload does not exist. It may have been aborted or completed."
            raise S3Error("NoSuchUpload", message, UploadId=upload_id)
        return upload


class Store:
    """All buckets. Callers hold the lock between a read and a dependent write, but never while bytes move."""

    def __init__(self, directory: Path) -> None:
        self.lock = threading.RLock()
        self.buckets: dict[str, Bucket] = {}
        self._directory = directory
        self._file_numbers = itertools.count()
        self._synthetic: dict[tuple[int, int], SyntheticContent] = {}

    def bucket(self, name: str) -> Bucket:
        """Return a bucket, or raise NoSuchBucket."""
        if bucket := self.buckets.get(name):
            return bucket
        raise S3Error("NoSuchBucket", "The specified bucket does not exist", BucketName=name)

    def create_bucket(self, name: str, *, keep: bool, checksums: bool = True, locked: bool = False) -> None:
        """Add an empty bucket."""
        with self.lock:
            if name in self.buckets:
                raise S3Error("BucketAlreadyOwnedByYou", "You already own this bucket.", BucketName=name)
            self.buckets[name] = Bucket(name, keep=keep, checksums=checksums, locked=locked)

    def discard(self, bucket_name: str, prefix: str) -> int:
        """Delete objects and uploads in progress under a prefix, and return the number of these uploads."""
        with self.lock:
            bucket = self.bucket(bucket_name)
            for key in [key for key in bucket.sorted_keys() if key.startswith(prefix)]:
                bucket.delete(key)
            uploads = [upload.id for upload in bucket.uploads.values() if upload.key.startswith(prefix)]
            for upload_id in uploads:
                del bucket.uploads[upload_id]
            return len(uploads)

    def new_file(self, bucket: Bucket) -> Path | None:
        """Return the path for the next body, or None if the bucket does not keep content."""
        return self._directory / str(next(self._file_numbers)) if bucket.keep else None

    def declare(
        self,
        bucket: Bucket,
        objects: Iterable[tuple[str, int]],
        algorithm: str | None = CRC64NVME,
        part_size: int | None = None,
    ) -> None:
        """Add objects with synthetic content, and with the checksum named by its header or none.

        With `part_size` they appear as uploaded in parts, with a checksum of the parts' checksums.
        """
        for key, size in objects:
            algorithms = [algorithm] if algorithm and bucket.checksums else []
            stored = (
                self._synthetic_object(key, size, algorithms)
                if part_size is None
                else self._synthetic_upload(key, size, algorithms, part_size)
            )
            with self.lock:
                bucket.put(key, stored)

    def overwrite(self, bucket_name: str, key: str) -> None:
        """Replace an object, if it still exists, by another with the same size and kind of checksum."""
        with self.lock:
            bucket = self.bucket(bucket_name)
            if (old := bucket.get(key)) is None:
                return
            for attempt in range(9):  # two objects of one byte are equal in 1 of 256 cases
                name = f"{key} overwritten {attempt}"
                new = (
                    self._synthetic_upload(name, old.size, list(old.checksums), max(1, old.parts[0].size))
                    if old.checksum_type == COMPOSITE
                    else self._synthetic_object(name, old.size, list(old.checksums))
                )
                if new.crc != old.crc:
                    break
            # Only empty objects are still equal. Such an object gets another ETag, as after a multipart
            # upload.
            parts = new.parts if new.etag != old.etag else (Part(0, {}),)
            bucket.put(key, replace(new, headers=old.headers, parts=parts))

    def _synthetic_object(self, name: str, size: int, algorithms: Iterable[str]) -> StoredObject:
        content = SyntheticContent(name, size)
        crc = content.crc64nvme()
        checksums = {
            header: encoded_crc64nvme(crc) if header == CRC64NVME else content.checksum(header)
            for header in algorithms
        }
        with self.lock:
            self._synthetic[size, crc] = content
        return StoredObject(size, crc, content, checksums=checksums)

    def _synthetic_upload(
        self, name: str, size: int, algorithms: Sequence[str], part_size: int
    ) -> StoredObject:
        stored = self._synthetic_object(name, size, ())
        content = SyntheticContent(name, size)
        parts = [
            Part(
                min(part_size, size - start),
                {header: content.checksum(header, start, part_size) for header in algorithms},
            )
            for start in range(0, max(size, 1), part_size)
        ]
        checksums = {
            header: composite(header, [part.checksums[header] for part in parts]) for header in algorithms
        }
        return replace(stored, parts=tuple(parts), checksums=checksums, checksum_type=COMPOSITE)

    def read_content(self, stored: StoredObject) -> Content:
        """Return an object's content. Discarded content is available if it is a copy of synthetic content."""
        if content := stored.content or self._synthetic.get((stored.size, stored.crc)):
            return content
        raise S3Error(
            "ContentDiscarded", "This bucket keeps the checksums of uploaded objects, not their content"
        )
