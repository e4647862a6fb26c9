"""The state of the store: buckets, objects, uploads in progress; for the operations and control.py."""

from __future__ import annotations

import itertools
import threading
import time
import uuid
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from asyncstream.lab.s3.content import SyntheticContent
from asyncstream.lab.s3.replies import S3Error

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from asyncstream.lab.s3.content import Content


@dataclass(frozen=True, slots=True)
class StoredObject:
    """An object, or a part of an upload. Without content only its size and checksum are known."""

    size: int
    crc: int
    content: Content | None
    headers: dict[str, str] = field(default_factory=dict)  # system and user metadata, as they came
    part_count: int = 0  # of the multipart upload it came from
    modified: float = field(default_factory=time.time)

    @property
    def etag(self) -> str:
        """Return the ETag in its quotes: no MD5, which would cost more than all the rest."""
        digits = f"{self.crc:016x}{self.size:016x}"
        return f'"{digits}-{self.part_count}"' if self.part_count else f'"{digits}"'


@dataclass(frozen=True, slots=True)
class MultipartUpload:
    """An upload in progress."""

    key: str
    headers: dict[str, str]
    id: str = field(default_factory=lambda: uuid.uuid4().hex)
    initiated: float = field(default_factory=time.time)
    parts: dict[int, StoredObject] = field(default_factory=dict)


class Bucket:
    """A bucket; `keep` says whether the content of uploaded objects is kept."""

    def __init__(self, name: str, *, keep: bool) -> None:
        self.name = name
        self.keep = keep
        self.created = time.time()
        self.uploads: dict[str, MultipartUpload] = {}
        self._objects: dict[str, StoredObject] = {}
        self._sorted_keys: list[str] | None = None

    def sorted_keys(self) -> list[str]:
        """Return all keys in S3's order, which is that of their UTF-8 bytes and so of their code points."""
        if self._sorted_keys is None:
            self._sorted_keys = sorted(self._objects)
        return self._sorted_keys

    def get(self, key: str) -> StoredObject | None:
        """Return the object if there is one."""
        return self._objects.get(key)

    def object(self, key: str) -> StoredObject:
        """Return the object, which must exist."""
        if stored := self._objects.get(key):
            return stored
        raise S3Error("NoSuchKey", "The specified key does not exist.", Key=key)

    def put(self, key: str, stored: StoredObject) -> None:
        """Add or replace an object."""
        if key not in self._objects:
            self._sorted_keys = None
        self._objects[key] = stored

    def delete(self, key: str) -> None:
        """Remove an object; as in S3 it need not exist."""
        if self._objects.pop(key, None):
            self._sorted_keys = None

    def upload(self, upload_id: str, key: str) -> MultipartUpload:
        """Return an upload in progress, which must exist."""
        upload = self.uploads.get(upload_id)
        if upload is None or upload.key != key:
            message = "The specified upload does not exist. It may have been aborted or completed."
            raise S3Error("NoSuchUpload", message, UploadId=upload_id)
        return upload


class Store:
    """All buckets. Whoever reads and then writes holds the lock in between, never while bytes move."""

    def __init__(self, directory: Path) -> None:
        self.lock = threading.RLock()
        self.buckets: dict[str, Bucket] = {}
        self._directory = directory
        self._file_numbers = itertools.count()
        self._synthetic: dict[tuple[int, int], SyntheticContent] = {}

    def bucket(self, name: str) -> Bucket:
        """Return a bucket, which must exist."""
        if bucket := self.buckets.get(name):
            return bucket
        raise S3Error("NoSuchBucket", "The specified bucket does not exist", BucketName=name)

    def create_bucket(self, name: str, *, keep: bool) -> None:
        """Add an empty bucket."""
        with self.lock:
            if name in self.buckets:
                raise S3Error("BucketAlreadyOwnedByYou", "You already own this bucket.", BucketName=name)
            self.buckets[name] = Bucket(name, keep=keep)

    def new_file(self, bucket: Bucket) -> Path | None:
        """Return where the next body belongs; None where it is not kept."""
        return self._directory / str(next(self._file_numbers)) if bucket.keep else None

    def declare(self, bucket: Bucket, objects: Iterable[tuple[str, int]]) -> None:
        """Add objects of synthetic content."""
        for key, size in objects:
            content = SyntheticContent(key, size)
            crc = content.crc64nvme()
            with self.lock:
                self._synthetic[size, crc] = content
                bucket.put(key, StoredObject(size, crc, content))

    def content_of(self, stored: StoredObject) -> Content:
        """Return an object's content; a discarded one is known if it is a copy of something synthetic."""
        if content := stored.content or self._synthetic.get((stored.size, stored.crc)):
            return content
        raise S3Error(
            "ContentDiscarded", "This bucket keeps the checksums of uploaded objects, not their content"
        )
