"""Fault injection: the rules that choose a request's fault, if any. Does no I/O.

`injection.py` applies the fault. The seed, the rule's position and the request determine whether a rate
applies, so the same work gets the same faults in any order. Only `times` depends on the order of requests.
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
    "refuse",  # an immediate error reply
    "reset",  # a reset before the body is read and the reply sent
    "reset-body",  # a reset in the middle of the body
    "truncate",  # the reply's body ends early, with an orderly close
    "stall",  # the body pauses in its middle
    "slow",  # the body is slow
    "wrong-byte",  # one byte of the body is changed
    "error-in-200",  # status 200 with an error in its body; nothing was done
    "lost-reply",  # the operation is done, then a reset instead of the reply
    "overwrite-source",  # during a read, another object of the same size replaces the object
]

# The operations of a copy, to which a rule without an operation applies.
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
# A rule can also name these. Together they are all operations in routing.py.
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
        "UploadPartCopy",
        "DeleteObject",
        "DeleteObjects",
    }
)
OPERATIONS = COPY_OPERATIONS | OTHER_OPERATIONS

# Kinds that apply to some operations only.
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
_MAX_PARTS = 10_000


class Target(NamedTuple):
    """The data of a request for rules, without its upload ID, which differs between runs."""

    operation: str
    bucket: str
    key: str
    part_number: str = ""
    range: str = ""


@dataclass(frozen=True, slots=True)
class Fault:
    """A rule: a fault and the requests that get it.

    Attributes:
        kind: the kind of the fault; see `Kind`.
        operation: S3's name of the operation; None: all of `COPY_OPERATIONS` to which the kind applies.
        key: a pattern for `fnmatchcase`.
        part_number: the part number of an UploadPart.
        times: numbers of the matching requests, counted from 1 in order of arrival; None: all of them.
        rate: the probability of the fault for such a request.
        at: the fraction of the body before the fault, at most all but the last byte.
        seconds: duration of a stall.
        status: the HTTP status of a refusal.
        code: S3's name of a refusal's error.
        retry_after: the seconds in a refusal's Retry-After header. None: no such header.
        bytes_per_second: the speed of a slow body.

    Raises:
        ValueError: a field is out of range, or the operation does not exist or cannot have this kind of
            fault.
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
        """Refuse a rule that could never apply, or not as its fields say."""
        for wrong, expected in (
            (self.kind not in get_args(Kind), f"kind {self.kind!r}: expected one of {get_args(Kind)}"),
            (
                self.operation is not None and self.operation not in OPERATIONS,
                f"operation {self.operation!r}: expected one of {sorted(OPERATIONS)}",
            ),
            (not self.operations, f"kind {self.kind!r} does not apply to {self._named()}"),
            (
                self.part_number is not None and not 1 <= self.part_number <= _MAX_PARTS,
                f"part_number {self.part_number}: expected 1 to {_MAX_PARTS}",
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
        """The fault's name in counts: for a refusal S3's name of the error, else the kind."""
        return self.code if self.kind == "refuse" else self.kind

    @property
    def operations(self) -> frozenset[str]:
        """The operations to which the rule applies."""
        named = COPY_OPERATIONS if self.operation is None else frozenset({self.operation})
        able = _OPERATIONS_OF_KIND.get(self.kind, OPERATIONS)
        return named & able if self.part_number is None else named & able & {"UploadPart"}

    def matches(self, target: Target) -> bool:
        """Return whether the rule matches this request."""
        return (
            target.operation in self.operations
            and fnmatchcase(target.key, self.key)
            and (self.part_number is None or str(self.part_number) == target.part_number)
        )


class FaultPlan:
    """Applies the rules: a request gets the fault of the first rule that applies.

    Args:
        faults: the rules, in order; the first that matches a request applies.
        seed: the seed of the random numbers.
        ignored_prefix: a prefix of keys that does not influence random numbers, so that copies with different
            destination prefixes get the same faults.
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
        """Return the fault of a request that has arrived, or None. Every matching rule counts the request."""
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
        """Return how often each rule applied."""
        with self._lock:
            return list(self._struck)

    def _drawn(self, position: int, nth: int, target: Target) -> float:
        """Return a pseudo-random number, at least 0 and below 1."""
        # Not crc32 as in model.py, whose numbers for names that differ in one digit are not independent.
        identity = repr((self._seed, position, nth, *target)).encode()
        return int.from_bytes(blake2b(identity, digest_size=6).digest(), "big") / (1 << 48)


def mix(rate: float) -> list[Fault]:
    """Return rules for every kind of fault that a copy recovers from, for a share `rate` of requests.

    This is the share of GETs. For other requests it is a little lower, because not every kind applies to
    them. No reply to a Create is lost, because the client could not know the upload's ID, and the upload
    would stay.
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
