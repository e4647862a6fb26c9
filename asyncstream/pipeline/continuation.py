"""`Continuation`: the state of a partly copied file, with which the next transfer continues it.

It is plain data, so that any engine on any machine can use it. As JSON it is part of a Lambda's reply, and of
the event for the next invocation. Its size does not depend on the file's size: S3 lists the parts that it
has, and consecutive parts share their checksums.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Self

from msgspec import Struct
from msgspec.structs import force_setattr

from asyncstream.checksum import (
    CRC64NVME,
    KINDS,
    Checksum,
    Composite,
    checkable_in_parts,
    combined,
    is_composite,
    is_digest,
    joined_pieces,
)
from asyncstream.errors import InputError
from asyncstream.objects import MAX_PARTS, CompletedPart
from asyncstream.pipeline import plan

# The most runs of confirmed parts in a continuation, at about 50 bytes each. The next transfer sends the
# parts of further runs again. Gaps are parts in flight when the time is up: 62 connections do not make more
# runs.
MOST_RUNS = 32

# The most characters of an upload ID, ETag or checksum: S3's have up to 128, other servers' some hundred.
MAX_TEXT = 2_048


class PartRun(Struct, frozen=True, array_like=True):
    """Consecutive parts that S3 has confirmed, and whose bytes matched the source.

    Attributes:
        first: the number of the first part.
        last: the number of the last part.
        length: bytes of all parts of the run.
        checksums: the CRCs of all these bytes in base64, by kind.
        pieces: see `Digests.pieces`.
    """

    first: int
    last: int
    length: int
    checksums: Mapping[str, str] = {}
    pieces: str = ""

    @classmethod
    def of(cls, part: CompletedPart) -> Self:
        """Return the run of a single part."""
        crcs = {kind: each.value for kind, each in part.checksums.items() if checkable_in_parts(kind)}
        return cls(part.number, part.number, part.length, crcs, part.pieces)


def joined(
    runs: Iterable[PartRun], composite: Composite | None = None, cut: plan.PartPlan | None = None
) -> list[PartRun]:
    """Join runs that follow each other, and return all runs in order of their numbers.

    Args:
        runs: in any order; each part is in at most one run.
        composite: the checksum that their pieces belong to, if they have any.
        cut: the parts of the file; needed with `composite`.
    """
    groups: list[list[PartRun]] = []
    for run in sorted(runs, key=lambda run: run.first):
        if groups and groups[-1][-1].last + 1 == run.first:
            groups[-1].append(run)
        else:
            groups.append([run])
    return [_one(group, composite, cut) for group in groups]


def _one(group: Sequence[PartRun], composite: Composite | None, cut: plan.PartPlan | None) -> PartRun:
    if len(group) == 1:
        return group[0]
    checksums = {
        kind: combined(kind, ((Checksum(kind, run.checksums[kind]), run.length) for run in group)).value
        for kind in set.intersection(*(set(run.checksums) for run in group))
    }
    pieces = ""
    if composite is not None and cut is not None:
        start = cut.range(group[0].first).start
        pieces = joined_pieces(composite, start, ((run.length, run.pieces) for run in group))
    length = sum(run.length for run in group)
    return PartRun(group[0].first, group[-1].last, length, checksums, pieces)


class EarlierPart(Struct, frozen=True):
    """A part in an earlier format of continuations, which listed each part; see `CompletedPart`."""

    number: int
    length: int
    checksums: Mapping[str, Checksum]


class Continuation(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """An unfinished multipart upload.

    Attributes:
        upload_id: S3's id of the upload.
        etag: the ETag of the source that the parts were read from.
        size: bytes of the source.
        first: bytes of the first part.
        step: bytes of each later part; the last may have fewer.
        verified: whether S3 will compare the whole object with its checksum.
        checksum: the checksum of the whole source, if S3 has one.
        composite: the checksum of the checksums of the source's parts, if S3 has that instead.
        digests: the kinds of checksums that all parts have.
        runs: the parts that S3 has confirmed.
        parts: the confirmed parts in an earlier format, which is read but no longer written. `composite`
            cannot be computed from it.
        fruitless: number of consecutive transfers that continued the upload without a new confirmed part.
        completing: whether CompleteMultipartUpload was sent, so that S3 may be working on it.
        kind: the kind of checksum that the upload has as a whole.
        copies: whether S3 copies the parts itself, and no bytes pass.
        only: the first and the last number of the parts to move; None: all. The upload then belongs to
            several transfers: each moves its own parts, and none of them completes or aborts it.
        replaces: ETag and time of change (`Stored.modified`) of the object that was at the destination before
            an upload that several transfers share; None: there was none, or it is unknown.
    """

    upload_id: str
    etag: str
    size: int
    first: int
    step: int
    verified: bool = False
    checksum: Checksum | None = None
    composite: Composite | None = None
    digests: Sequence[str] = ()
    runs: Sequence[PartRun] = ()
    parts: Sequence[EarlierPart] = ()
    fruitless: int = 0
    completing: bool = False
    kind: str = CRC64NVME
    copies: bool = False
    only: tuple[int, int] | None = None
    replaces: tuple[str, int] | None = None

    @property
    def part_plan(self) -> plan.PartPlan:
        """The parts that the file is cut into."""
        return plan.PartPlan(self.size, self.first, self.step)

    def __post_init__(self) -> None:
        """Check all fields, which may come from any event, and convert `parts` to `runs`.

        Raises:
            InputError: a field is wrong; the message names it.
        """
        if not 0 < self.first <= self.size or self.step < (1 if self.first < self.size else 0):
            raise InputError(
                f"continuation: first={self.first}, step={self.step} cannot cut {self.size} bytes into parts"
            )
        plan.check_size(self.size)
        planned = self.part_plan.planned
        if planned > MAX_PARTS or max(self.first, self.step) > plan.MAX_PART:
            raise InputError(
                f"continuation: {planned} parts of {max(self.first, self.step)} bytes are over S3's limits"
            )
        self._check_numbers(planned)
        own = Checksum(KINDS[0], "-") if self.checksum is None else self.checksum
        for text in (self.upload_id, self.etag, own.value):
            # These texts are sent in a URL, headers and XML.
            if not (0 < len(text) <= MAX_TEXT and text.isprintable()):
                raise InputError(f"continuation: {text!r:.100} is not an upload ID, an ETag or a checksum")
        unknown = {*self.digests, own.kind, self.kind} - set(KINDS)
        if unknown:
            raise InputError(f"continuation: checksums of kind {min(unknown)!r:.20} are unknown")
        if self.parts:
            force_setattr(self, "composite", None)
        self._check_composite()
        runs = sorted([*self.runs, *map(_run_of, self.parts)], key=lambda run: run.first)
        before = 0
        for run in runs:
            self._check_run(run, before)
            before = run.last
        if self.parts:
            force_setattr(self, "runs", joined(runs))
            force_setattr(self, "parts", ())

    def _check_numbers(self, planned: int) -> None:
        if not 0 <= self.fruitless <= MAX_PARTS:
            raise InputError(f"continuation: fruitless={self.fruitless} is not between 0 and {MAX_PARTS}")
        if self.only is not None and not 1 <= self.only[0] <= self.only[1] <= planned:
            raise InputError(f"continuation: only={list(self.only)} are not numbers among {planned} parts")

    def _check_composite(self) -> None:
        composite = self.composite
        if composite is None:
            return
        # Each piece costs a digest: a wrong part size could mean billions of pieces.
        if not is_composite(composite, self.size) or composite.parts > MAX_PARTS:
            raise InputError(
                f"continuation: {composite.kind!r:.20} of parts of {composite.part_size} bytes: a source of "
                f"{self.size} bytes does not have as many parts as {composite.value[-9:]!r} says"
            )
        if self.first < self.size and not checkable_in_parts(composite.kind):
            raise InputError(f"continuation: a {composite.kind} cannot be computed from those of pieces")

    def _check_run(self, run: PartRun, before: int) -> None:
        """Check one run, where `before` is the last part of the run before it."""
        named = f"continuation: parts {run.first} to {run.last}"
        if not before < run.first <= run.last <= self.part_plan.planned:
            raise InputError(f"{named} cannot follow part {before} in {self.part_plan.planned} parts")
        planned = self.part_plan.range(run.first, run.last).length
        if run.length != planned:
            raise InputError(f"{named} have {run.length} bytes, not {planned}")
        kinds = set(filter(checkable_in_parts, self.digests))
        if run.checksums.keys() != kinds or not all(is_digest(run.checksums[kind], kind) for kind in kinds):
            raise InputError(f"{named} do not have the checksums that all parts have: {sorted(kinds)}")
        composite = self.composite
        if composite is None or not checkable_in_parts(composite.kind):
            return
        if not is_digest(run.pieces, composite.kind, count=3):
            raise InputError(f"{named} do not have the checksums of their pieces")


def _run_of(part: EarlierPart) -> PartRun:
    return PartRun.of(CompletedPart(part.number, "", part.length, part.checksums))
