"""Fault injection, the rules: which fault, if any, befalls a request.

Pure; what a fault then does is in injection.py. Whether a rate strikes is drawn from the seed, the rule's
place and the request itself: the same work meets the same faults in whatever order. Only `times` counts
arrivals.
"""

from __future__ import annotations

import threading
from collections import Counter
from dataclasses import dataclass
from fnmatch import fnmatchcase
from hashlib import blake2b
from typing import TYPE_CHECKING, Literal, NamedTuple, TypeAlias, get_args

if TYPE_CHECKING:
    from collections.abc import Sequence

Kind: TypeAlias = Literal[
    "refuse",  # an error, at once
    "reset",  # a reset before anything of the body is read or any reply sent
    "reset-body",  # a reset in the middle of the body
    "truncate",  # the reply's body ends early, by an orderly close
    "stall",  # in the middle of the body nothing happens for a while
    "slow",  # the body moves slowly
    "wrong-byte",  # one byte of the body is another one
    "error-in-200",  # status 200 and an error in its body; nothing was done
    "lost-reply",  # all was done, and then a reset instead of the reply
    "overwrite-source",  # while it is being read, the object becomes another of the same size
]

# What a rule that names no operation is about: the operations of a copy.
COPY_OPERATIONS = frozenset(
    {
        "GetObject",
        "HeadObject",
        "PutObject",
        "CreateMultipartUpload",
        "UploadPart",
        "CompleteMultipartUpload",
        "AbortMultipartUpload",
    }
)
# A rule can name these too. Together they are all that routing.py knows.
OTHER_OPERATIONS = frozenset(
    {
        "ListBuckets",
        "CreateBucket",
        "HeadBucket",
        "DeleteBucket",
        "GetBucketLocation",
        "ListObjectsV2",
        "ListMultipartUploads",
        "ListParts",
        "DeleteObject",
        "DeleteObjects",
    }
)
OPERATIONS = COPY_OPERATIONS | OTHER_OPERATIONS

# Kinds that befall some operations only.
_WITH_CONTENT = frozenset({"GetObject", "PutObject", "UploadPart"})
_READING = frozenset({"GetObject"})
_OPERATIONS_OF_KIND: dict[str, frozenset[str]] = {
    "reset-body": _WITH_CONTENT,
    "truncate": _READING,
    "slow": _WITH_CONTENT,
    "wrong-byte": _WITH_CONTENT,
    "error-in-200": frozenset({"CompleteMultipartUpload"}),
    "overwrite-source": _READING,
}
_MOST_PARTS = 10_000


class Target(NamedTuple):
    """A request as rules see it: without its upload's id, which differs from run to run."""

    operation: str
    bucket: str
    key: str
    part_number: str = ""
    range: str = ""


@dataclass(frozen=True, slots=True)
class Fault:
    """A rule: what happens to which requests.

    Attributes:
        kind: what happens.
        operation: S3's name of the operation; None: any of `COPY_OPERATIONS` that the kind can befall.
        key: a pattern, as of `fnmatchcase`.
        part_number: of an UploadPart.
        times: which of the matching requests, counted from 1 as they arrive; None: all of them.
        rate: the probability with which it then happens.
        at: the fraction of the body after which it happens; before its last byte at the latest.
        seconds: how long a stall lasts.
        status: of a refusal.
        code: of a refusal: S3's name of the error.
        retry_after: of a refusal: the seconds in its header Retry-After; None: no such header.
        bytes_per_second: the speed of a slow body.

    Raises:
        ValueError: a field is out of its range, or the operation does not exist or cannot suffer this kind.
    """

    kind: Kind
    operation: str | None = None
    key: str = "*"
    part_number: int | None = None
    times: list[int] | None = None
    rate: float = 1.0
    at: float = 0.5
    seconds: float = 1.0
    status: int = 503
    code: str = "SlowDown"
    retry_after: int | None = None
    bytes_per_second: float = 1_000_000.0

    def __post_init__(self) -> None:
        """Refuse a rule that could never strike, or not as it says."""
        for wrong, expected in (
            (self.kind not in get_args(Kind), f"kind {self.kind!r}: expected one of {get_args(Kind)}"),
            (
                self.operation is not None and self.operation not in OPERATIONS,
                f"operation {self.operation!r}: expected one of {sorted(OPERATIONS)}",
            ),
            (not self.operations, f"kind {self.kind!r} cannot befall {self._named()}"),
            (
                self.part_number is not None and not 1 <= self.part_number <= _MOST_PARTS,
                f"part_number {self.part_number}: expected 1 to {_MOST_PARTS}",
            ),
            (
                self.times is not None and not (self.times and min(self.times) >= 1),
                f"times {self.times}: expected numbers from 1, or None for all requests",
            ),
            (not 0 <= self.rate <= 1, f"rate {self.rate}: expected 0 to 1"),
            (not 0 <= self.at <= 1, f"at {self.at}: expected a fraction, 0 to 1"),
            (not 0 <= self.seconds < 86_400, f"seconds {self.seconds}: expected 0 to a day"),
            (
                not 300 <= self.status <= 599 or self.status == 304,
                f"status {self.status}: expected 300 to 599, and not 304, which has no body",
            ),
            (not self.code, "code: expected S3's name of an error"),
            (
                self.retry_after is not None and self.retry_after < 0,
                f"retry_after {self.retry_after}: expected seconds, or None for no such header",
            ),
            (
                not self.bytes_per_second > 0,
                f"bytes_per_second {self.bytes_per_second}: expected more than 0",
            ),
        ):
            if wrong:
                raise ValueError(f"fault: {expected}")

    def _named(self) -> str:
        return self.operation or f"part {self.part_number}"

    @property
    def name(self) -> str:
        """Return what it is called where they are counted: of a refusal S3's name of the error."""
        return self.code if self.kind == "refuse" else self.kind

    @property
    def operations(self) -> frozenset[str]:
        """Return the operations that it can befall."""
        named = COPY_OPERATIONS if self.operation is None else frozenset({self.operation})
        able = _OPERATIONS_OF_KIND.get(self.kind, OPERATIONS)
        return named & able if self.part_number is None else named & able & {"UploadPart"}

    def matches(self, target: Target) -> bool:
        """Whether the rule is about this request."""
        return (
            target.operation in self.operations
            and fnmatchcase(target.key, self.key)
            and (self.part_number is None or str(self.part_number) == target.part_number)
        )


class FaultPlan:
    """Rules at work: the first one that strikes a request is what befalls it.

    Args:
        faults: the rules.
        seed: of what is drawn.
        ignored_prefix: of keys, by which nothing is drawn: what is written elsewhere meets the same faults.
    """

    def __init__(self, faults: Sequence[Fault], seed: int = 0, ignored_prefix: str = "") -> None:
        self._faults = tuple(faults)
        self._seed = seed
        self._ignored_prefix = ignored_prefix
        self._lock = threading.Lock()
        self._occurrences: Counter[Target] = Counter()
        self._matched = [0] * len(self._faults)
        self._struck = [0] * len(self._faults)

    def choose(self, target: Target) -> Fault | None:
        """Return what befalls a request that has arrived; every rule that matches it counts it."""
        chosen: int | None = None
        drawn_by = target._replace(key=target.key.removeprefix(self._ignored_prefix))
        with self._lock:
            self._occurrences[drawn_by] += 1
            nth = self._occurrences[drawn_by]
            for position, fault in enumerate(self._faults):
                if not fault.matches(target):
                    continue
                self._matched[position] += 1
                its_turn = fault.times is None or self._matched[position] in fault.times
                if chosen is None and its_turn and self._drawn(position, nth, drawn_by) < fault.rate:
                    chosen = position
            if chosen is None:
                return None
            self._struck[chosen] += 1
        return self._faults[chosen]

    def struck(self) -> list[int]:
        """Return how often each rule struck."""
        with self._lock:
            return list(self._struck)

    def _drawn(self, position: int, nth: int, target: Target) -> float:
        """Return a number from 0 up to 1."""
        # Not crc32, as in model.py: of names that differ in a digit it draws no independent numbers.
        identity = repr((self._seed, position, nth, *target)).encode()
        return int.from_bytes(blake2b(identity, digest_size=6).digest(), "big") / (1 << 48)


def mix(rate: float) -> list[Fault]:
    """Return rules for every kind of fault that a copy recovers from; `rate` of requests suffer one.

    So much of the GETs; of other requests a little less, as not every kind can befall them. No reply to a
    Create is lost: nobody can know of the upload that it opened, so it would stay.
    """
    if not 0 <= rate <= 1:
        raise ValueError(f"faults: rate {rate}: expected 0 to 1")
    befalling_get = 9
    each = 1 - (1 - rate) ** (1 / befalling_get)
    return [
        Fault("refuse", rate=each),
        Fault("refuse", rate=each, status=500, code="InternalError"),
        Fault("refuse", rate=each, status=429, code="TooManyRequests", retry_after=1),
        Fault("reset", rate=each),
        Fault("reset-body", rate=each),
        Fault("truncate", rate=each),
        Fault("stall", rate=each, seconds=0.2),
        Fault("wrong-byte", rate=each),
        Fault("error-in-200", rate=each),
        *(
            Fault("lost-reply", operation, rate=each)
            for operation in sorted(COPY_OPERATIONS - {"CreateMultipartUpload"})
        ),
    ]
