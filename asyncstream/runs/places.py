"""Where the objects of a run are. Does no I/O.

RUN/run.json              the description; written last, so that it shows that the plan is whole
RUN/progress.json         how far the plan is
RUN/plan/000123.jsonl     a batch: one row a line
RUN/uploads/000004.jsonl  uploads of giant files, which the last step completes
RUN/todo.json             the batches of the next Map, as events of the function
RUN/done/000123.json      the outcome of a batch of which nothing is left
RUN/left/000123.json      the outcome of a batch of which rows are left to do
"""

import re
from typing import Self

from msgspec import Struct

from asyncstream.errors import InputError
from asyncstream.locations import S3Object, S3Prefix

_BATCH = re.compile(r"(s3://.+/)plan/(\d{6,9})\.jsonl")


class Run(Struct, frozen=True):
    """The places of one run.

    Attributes:
        prefix: the prefix of all its objects, which ends with a slash.

    Raises:
        InputError: the prefix does not end with a slash.
    """

    prefix: S3Prefix

    def __post_init__(self) -> None:
        if not self.prefix.prefix.endswith("/"):
            raise InputError(f"{self.prefix} is not the place of a run: end it with a slash")

    @classmethod
    def from_uri(cls, uri: str) -> Self:
        """Return the run under `s3://bucket/prefix/`."""
        return cls(S3Prefix.from_uri(uri))

    @classmethod
    def of_batch(cls, uri: str) -> tuple[Self, int]:
        """Return the run of a batch, `s3://bucket/prefix/plan/000123.jsonl`, and the batch's number.

        Raises:
            InputError: it is not the URI of a batch.
        """
        match = _BATCH.fullmatch(uri) if isinstance(uri, str) else None
        if match is None:
            raise InputError(f"{uri!r:.1100} is not a batch: write s3://bucket/RUN/plan/000123.jsonl")
        return cls.from_uri(match[1]), int(match[2])

    @property
    def uri(self) -> str:
        """The URI of the prefix."""
        return self.prefix.uri

    @property
    def description(self) -> S3Object:
        """The object that describes the run."""
        return self._object("run.json")

    @property
    def progress(self) -> S3Object:
        """The object that says how far the plan is."""
        return self._object("progress.json")

    @property
    def todo(self) -> S3Object:
        """The list of batches for a Map."""
        return self._object("todo.json")

    @property
    def done_prefix(self) -> S3Prefix:
        """The prefix of the outcomes of batches that are done."""
        return S3Prefix(self.prefix.bucket, f"{self.prefix.prefix}done/")

    @property
    def left_prefix(self) -> S3Prefix:
        """The prefix of the outcomes of batches of which rows are left."""
        return S3Prefix(self.prefix.bucket, f"{self.prefix.prefix}left/")

    def batch(self, number: int) -> S3Object:
        """Return the object of a batch."""
        return self._object(f"plan/{number:06d}.jsonl")

    def uploads(self, number: int) -> S3Object:
        """Return an object with uploads of giant files."""
        return self._object(f"uploads/{number:06d}.jsonl")

    def done(self, number: int) -> S3Object:
        """Return the outcome of a batch that is done."""
        return self._object(f"done/{number:06d}.json")

    def left(self, number: int) -> S3Object:
        """Return the outcome of a batch of which rows are left."""
        return self._object(f"left/{number:06d}.json")

    def _object(self, name: str) -> S3Object:
        return self.prefix.item(self.prefix.prefix + name)
