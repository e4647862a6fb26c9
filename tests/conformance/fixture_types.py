"""The types of what fixtures return, as tests name them."""

from collections.abc import Callable
from typing import Any, Protocol, TypeVar

from asyncstream import S3Object, S3Prefix, TransferReport, TransferSession
from asyncstream.lab.s3 import Fault
from asyncstream.lab.web import Answer, Origin
from asyncstream.lab.web.server import Asked
from asyncstream.ports import Transport

T = TypeVar("T")

# The fixtures `copy` and `copy_with_faults`: files, then settings.
Copy = Callable[..., TransferReport]
# The fixtures `put`, `keep` and `pack`: files by name; what to pack them into, then settings.
Put = Callable[..., None]
Keep = Callable[..., S3Prefix]
Pack = Callable[..., TransferReport]
Pairs = Callable[..., list[tuple[S3Object, S3Object]]]
WrapTransport = Callable[[Callable[[Transport], Transport]], None]

NewSession = Callable[[], TransferSession]
NothingIsLeft = Callable[..., None]


# The fixture `stop_after`: a pair, and the bytes after which its time is up.
StopAfter = Callable[..., TransferReport]

# The fixture `untar`: the bytes of an archive, then `select` and settings.
Untar = Callable[..., TransferReport]


class UntilItStalls(Protocol):
    """The fixture `until_it_stalls`: returns what the transfer did that the fault has struck."""

    def __call__(self, fault: Fault, transfer: Callable[[float], T]) -> T: ...


# Returns the page of one URL, or a list for several.
Fetch = Callable[..., Any]
FetchAll = Callable[..., list[Any]]
Served = Answer | Callable[[Asked], Answer]
Serve = Callable[..., Origin]
