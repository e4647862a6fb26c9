"""`TransferConfig`: every setting of a transfer, validated before any I/O; used by all layers above.

A msgspec Struct, so that the same definition checks Python arguments, environment variables and the
`config` of a Lambda event, and describes itself in the event's JSON schema.
"""

import logging
import math
import re
from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal

import msgspec
from msgspec import Meta

from asyncstream.errors import ConfigError
from asyncstream.pipeline import extra_args, plan
from asyncstream.retry import RetryPolicy
from asyncstream.settings import Settings, check_names
from asyncstream.units import KiB, MiB

logger = logging.getLogger(__name__)

ENV_PREFIX = "ASYNCSTREAM_"
DEFAULT_MEMORY_LIMIT = 64 * MiB
# What the interpreter may still grow by while a Lambda runs: results, log records, garbage not yet swept.
LAMBDA_MARGIN = 16 * MiB
# A chunk is at most this part of a function's memory: 512 KiB of 128 MB, and 16 MiB from 4 GB on.
CHUNKS_IN_MEMORY = 256


class TransferConfig(Settings, frozen=True, kw_only=True):
    """How a transfer runs. Not boto3's class of the same name, whose settings mean other things.

    Attributes:
        memory_limit: bytes for all parts in flight together. Default: 64 MiB; in Lambda the function's
            memory less what the process uses after init less 16 MiB, which is also the most there.
        chunk_size: bytes that the blocking engines read at a time and have in hand per part; 16 KiB to
            16 MiB. Default: 256 KiB. In Lambda at most a 256th of the function's memory. asyncio hands on
            what has arrived.
        max_concurrency: the most parts (without `multipart`: files) in flight. Default: 10.
        part_size: bytes of a part, 5 MiB to 5 GiB, or "auto" (default): about four parts a slot over
            the sizes that are known, not under 25 MiB, growing with the file to stay within 10,000.
        multipart: False (default): a file is one stream where S3 allows (up to 5 GiB); True: the parts
            of all files run at once.
        max_attempts: tries of one request or part, the first included. Default: 4.
        retry_base_delay: seconds; bound of the first wait (full jitter, doubled each time).
        retry_max_delay: seconds; no wait is longer, unless S3 asks for it.
        retry_max_wait: seconds waited in all before a request or part is given up. Default: 30.
        stall_timeout: seconds without a byte after which a connection counts as broken, and a body that is
            read goes on over another one. At most 15, as S3 ends a PUT that pauses for 20: what stalls and
            is not resumed within 15 begins again. Default: 5.
        reply_timeout: seconds that a whole reply, or the head of a GET's, may take after the last byte of
            its request was sent; `stall_timeout` holds before, for bodies, and for a GET that resumes the
            body of an upload. The deadline cuts it. Default: 60.
        complete_timeout: the same for CompleteMultipartUpload: S3 may take minutes to put a large object
            together, and sends white space meanwhile. Default: 600.
        verify: when it is sure that the destination has the bytes of the source. "before" (default): before
            the object becomes visible. "after": a file whose source has no checksum of all its bytes is one
            PUT instead of three requests, compared after. "off": never; what was read and written is not even
            compared with S3's checksums. Of a destination that knows no CRC64NVME each result says so.
        deadline: seconds after which no work starts and what runs is stopped; None (default): no end.
        at_deadline: what becomes of the files that are not done by then. "fail" (default): they fail, and
            their uploads are aborted. "pending": what S3 has confirmed of them stays, and their results have
            what a next transfer goes on with.
        if_exists: what becomes of a file whose destination is there already. "overwrite" (default). "skip":
            it is left if it is a copy of the source as that is now: by the size and ETag of the source, which
            "skip" keeps with each copy as the metadata `asyncstream-source`, else by the checksums that S3
            has of both. "fail": it is left, and the file fails with DestinationExists. A HEAD looks first,
            if the caller may read there; of two writers at once S3 refuses the second. A server that ignores
            If-None-Match does not.
        transform: what is made of each file, instead of a copy: "gzip", "gunzip", "zstd", "unzstd",
            "bunzip2", "unxz", a function of yours as "module:function", or several of these, with commas
            between, one after the other. Takes the memory of a part more for each file in flight, as its
            output is filled in before it is sent; with `part_size="auto"` that is 5 to 25 MiB, as fits. What
            a transform holds is reserved, too: at first 9.5 MiB a file for "unxz" and 3.5 for "unzstd", or as
            much more as there is for every slot; a file that needs more begins again when it fits.
        max_output: bytes that may be made of one file; None (default): any number.
        max_ratio: bytes that may be made of each byte of a file, looked at from 64 MiB on; None: any number.
            Default: 250, far more than compressed text becomes, and far less than a bomb.
        extra_args: settings for the destination as boto3's `upload_fileobj` spells them in `ExtraArgs`;
            they override what is kept of the source.

    Raises:
        ConfigError: a value is of the wrong type or outside its limits, which the message names.
    """

    memory_limit: Annotated[
        Annotated[int, Meta(ge=1)] | None, Meta(description="bytes for all parts in flight together")
    ] = None
    chunk_size: Annotated[
        int, Meta(ge=16 * KiB, le=16 * MiB, description="bytes in hand per part, 16 KiB to 16 MiB")
    ] = 256 * KiB
    max_concurrency: Annotated[
        int, Meta(ge=1, le=1000, description="the most parts or files in flight, 1 to 1000")
    ] = 10
    part_size: Annotated[
        Annotated[int, Meta(ge=plan.MIN_PART, le=plan.MAX_PART)] | Literal["auto"],
        Meta(description='bytes of a part, 5 MiB (5242880) to 5 GiB (5368709120), or "auto"'),
    ] = "auto"
    multipart: Annotated[bool, Meta(description="whether the parts of all files run at once")] = False
    max_attempts: Annotated[int, Meta(ge=1, le=100, description="tries of a request or part, 1 to 100")] = 4
    retry_base_delay: Annotated[float, Meta(gt=0, description="seconds, bound of the first wait")] = 0.1
    retry_max_delay: Annotated[float, Meta(gt=0, description="seconds, bound of every wait")] = 5.0
    retry_max_wait: Annotated[float, Meta(gt=0, description="seconds waited in all")] = 30.0
    stall_timeout: Annotated[float, Meta(gt=0, le=15, description="seconds without a byte, at most 15")] = 5.0
    reply_timeout: Annotated[
        float, Meta(gt=0, le=3600, description="seconds that a reply may take, at most 3600")
    ] = 60.0
    complete_timeout: Annotated[
        float, Meta(gt=0, le=3600, description="seconds that the reply of Complete may take, at most 3600")
    ] = 600.0
    verify: Annotated[
        Literal["before", "after", "off"],
        Meta(description="when bytes are compared: before an object becomes visible, after, or never"),
    ] = "before"
    deadline: Annotated[
        Annotated[float, Meta(gt=0)] | None, Meta(description="seconds after which the transfer stops")
    ] = None
    at_deadline: Annotated[
        Literal["fail", "pending"],
        Meta(description="whether files not done by the deadline fail, or are left to be continued"),
    ] = "fail"
    if_exists: Annotated[
        Literal["overwrite", "skip", "fail"],
        Meta(description="what becomes of a file whose destination is there already"),
    ] = "overwrite"
    transform: Annotated[
        str | None, Meta(description="what is made of each file: gunzip, or module:function, or a,b,c")
    ] = None
    max_output: Annotated[
        Annotated[int, Meta(ge=1)] | None, Meta(description="bytes that may be made of one file")
    ] = None
    max_ratio: Annotated[
        Annotated[float, Meta(gt=0)] | None, Meta(description="bytes that may be made of each byte of a file")
    ] = 250.0
    extra_args: Annotated[
        dict[str, Any], Meta(description="settings of the destination, as boto3's ExtraArgs")
    ] = msgspec.field(default_factory=dict)

    _prefix: ClassVar[str] = ENV_PREFIX

    def __post_init__(self) -> None:
        super().__post_init__()
        extra_args.check(self.extra_args)

    @classmethod
    def read_variables(cls, variables: Mapping[str, str]) -> dict[str, Any]:
        """Return the settings of `ASYNCSTREAM_MEMORY_LIMIT`, `ASYNCSTREAM_MULTIPART` and so on.

        Sizes are bytes; booleans `true` or `false`; `ASYNCSTREAM_EXTRA_ARGS` is a JSON object. An empty
        variable counts as unset, as templates write it.

        Raises:
            ConfigError: the JSON is malformed, or a variable of this prefix names no setting.
        """
        check_names(variables, ENV_PREFIX, cls.__struct_fields__, cls.__name__)
        given = super().read_variables(variables)
        if "extra_args" in given:
            try:
                given["extra_args"] = msgspec.json.decode(given["extra_args"])
            except msgspec.DecodeError as error:
                raise ConfigError(f"{ENV_PREFIX}EXTRA_ARGS is not JSON: {error}") from None
        return given

    def _masked(self) -> dict[str, Any]:
        # Keys are among the extra_args: only the names are shown.
        return {"extra_args": sorted(map(str, self.extra_args))}

    def _refusal(self, error: msgspec.ValidationError) -> str:
        name, what = explained(error)
        # Keys are among the extra_args: their values are never repeated.
        return f"{name}: {what}" if name == "extra_args" else f"{name}={getattr(self, name)!r}: {what}"

    @classmethod
    def _misreading(cls, error: msgspec.ValidationError, given: Mapping[str, Any]) -> str:
        name, what = explained(error)
        if name == "extra_args":
            return f"{name}: {what}"
        return f"{ENV_PREFIX}{name.upper()}={given[name]!r}: {what}"

    @property
    def retry_policy(self) -> RetryPolicy:
        """The retry settings as one value."""
        return RetryPolicy(
            self.max_attempts, self.retry_base_delay, self.retry_max_delay, self.retry_max_wait
        )


_DESCRIPTIONS = {
    field.name: field.type.__metadata__[-1].description for field in msgspec.structs.fields(TransferConfig)
}


def explained(error: msgspec.ValidationError) -> tuple[str, str]:
    """Which setting msgspec complains about ("" if none), and what it says with what the setting is."""
    what, _, path = str(error).partition(" - at ")
    match = re.search(r"(\w+)(?:\[\.\.\.\])?`$", path)
    name = match[1] if match else ""
    if name not in _DESCRIPTIONS:
        return "", str(error)
    return name, f"{what} ({_DESCRIPTIONS[name]})"


def chunk_size_within(size: int, lambda_memory: int | None) -> int:
    """Return the bytes to read at a time: in Lambda at most a 256th of the function's memory.

    Threads' allocators keep freed buffers of megabytes. *Measured*: chunks of 8 MiB in three slots, 57 MiB in
    all, killed a function of 128 MB.

    Args:
        size: what is configured.
        lambda_memory: bytes of the Lambda function, None elsewhere.
    """
    if lambda_memory is None or size <= lambda_memory // CHUNKS_IN_MEMORY:
        return size
    most = lambda_memory // CHUNKS_IN_MEMORY
    logger.warning("chunk_size of %d bytes is too much for the function's memory: %d bytes count", size, most)
    return most


def memory_left(lambda_memory: int | None, resident: int) -> float:
    """Return the bytes that a function's memory leaves beside what it uses after init; infinity elsewhere."""
    return math.inf if lambda_memory is None else lambda_memory - resident - LAMBDA_MARGIN


def memory_limit_or_default(limit: int | None, lambda_memory: int | None, resident: int) -> int:
    """Bytes that what is in flight may take.

    Args:
        limit: what is configured, which an event may do. In Lambda it is at most what the function has left.
        lambda_memory: bytes of the Lambda function, None elsewhere.
        resident: bytes the process uses after init.

    Raises:
        ConfigError: the function's memory is used up before anything was moved.
    """
    if lambda_memory is None:
        return DEFAULT_MEMORY_LIMIT if limit is None else limit
    left = int(memory_left(lambda_memory, resident))
    if left <= 0:
        raise ConfigError(
            f"the function's {lambda_memory // MiB} MB leave nothing to transfer with: "
            f"{resident // MiB} MiB are in use after init. Give the function more memory."
        )
    if limit is None or limit <= left:
        return left if limit is None else limit
    logger.warning("memory_limit of %d bytes is more than the function has left: %d bytes count", limit, left)
    return left
