"""`TransferConfig`: all settings of a transfer, validated before any I/O.

It is a msgspec Struct, so that one definition checks Python arguments, environment variables and the `config`
of a Lambda event, and generates that part of the event's JSON schema.
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
from asyncstream.s3.access import DESTINATION_PREFIX, SOURCE_PREFIX
from asyncstream.settings import Settings, check_names
from asyncstream.units import KiB, MiB

logger = logging.getLogger(__name__)

ENV_PREFIX = "ASYNCSTREAM_"
# Whether a deployed function unpacks archives: not a setting of transfers. `events.deployment` reads it.
UNPACK = f"{ENV_PREFIX}UNPACK"
DEFAULT_MEMORY_LIMIT = 64 * MiB
# Bytes that the interpreter may still grow by while a Lambda runs: results, log records, uncollected garbage.
LAMBDA_MARGIN = 16 * MiB
# A chunk is at most this fraction of a function's memory: 512 KiB of 128 MB, and 16 MiB from 4 GB on.
CHUNKS_IN_MEMORY = 256


class TransferConfig(Settings, frozen=True, kw_only=True):
    """The settings of a transfer. boto3 has a class of the same name with other settings.

    Attributes:
        memory_limit: bytes for all parts in flight together. Default: 64 MiB. In Lambda: the function's
            memory, minus what the process uses after init, minus 16 MiB; larger values are lowered to that.
        chunk_size: bytes that the blocking engines read at a time and hold per part; 16 KiB to 16 MiB.
            Default: 256 KiB. In Lambda at most a 256th of the function's memory. asyncio passes on the bytes
            as they arrive.
        max_concurrency: the most parts (without `multipart`: files) in flight. Default: 10.
        part_size: bytes of a part, 5 MiB to 5 GiB, or "auto" (default): about four parts per slot over all
            files of known size, at least 25 MiB, growing with the file to stay within 10,000 parts.
        multipart: False (default): a file is one stream if S3 allows that (up to 5 GiB). True: the parts of
            all files are copied concurrently.
        max_attempts: number of tries of one request or part, including the first. Default: 4.
        retry_base_delay: seconds; the upper bound of the first wait (full jitter, doubled each time).
        retry_max_delay: seconds; the upper bound of every wait, unless S3 asks for a longer one.
        retry_max_wait: seconds; a request or part is given up if its waits add up to more. Default: 30.
        stall_timeout: seconds without a byte after which a connection counts as broken, and reading a body
            resumes over another one. At most 15, because S3 ends a PUT that pauses for 20: a part that stalls
            and is not resumed within 15 starts again. Default: 5.
        reply_timeout: seconds for a whole reply, or for the head of a GET's reply, from the last byte of the
            request sent. `stall_timeout` applies before that, for bodies, and for a GET that resumes the body
            of an upload. The deadline can end the wait earlier. Default: 60.
        complete_timeout: the same for CompleteMultipartUpload. S3 may take minutes to assemble a large
            object, and sends white space meanwhile. Default: 600.
        verify: when to verify that the destination matches the source. "before" (default): before the object
            becomes visible. "after": a file whose source has no checksum of all its bytes takes one PUT
            instead of three requests, and is compared afterwards. "off": never; not even the bytes read and
            written are compared with S3's checksums. Results say when the destination does not support
            CRC64NVME.
        deadline: seconds after which no work starts and running work is stopped; None (default) for no limit.
        at_deadline: how files end that are unfinished at the deadline. "fail" (default): they fail, and their
            uploads are aborted. "pending": parts that S3 has confirmed stay, and the results have
            continuations for the next transfer.
        if_exists: how to handle a file whose destination exists. "overwrite" (default). "skip": the
            destination stays if it is a copy of the current source. That is decided by the source's size and
            ETag, which "skip" stores with each copy as the metadata `asyncstream-source`, or else by the
            checksums that S3 has of both. "fail": the destination stays, and the file fails with
            DestinationExists. A HEAD looks first, if the caller may read there. If two writers write at once,
            S3 refuses the second; a server that ignores If-None-Match does not, and
            `TransferReport.downgrades` names a server other than AWS that has not shown that it obeys.
        copy_tags: whether a copy gets the tags that its source has when the copy starts. Default: False. It
            takes s3:GetObjectTagging and one request for each file, even without tags: S3 only tells callers
            with this permission how many there are, so tags would be lost silently. The destination takes
            s3:PutObjectTagging. If `extra_args` has `Tagging`, the source's tags are not read. ACLs and
            annotations are never copied.
        transform: a transform of each file, instead of a copy: "gzip", "gunzip", "zstd", "unzstd",
            "bunzip2", "unxz", your own function as "module:function", or several of these, separated by
            commas and applied in order. It takes the memory of one more part for each file in flight, because
            a part of the output is filled before it is sent; with `part_size="auto"` that is 5 to 25 MiB, as
            much as fits. The transform's own memory is reserved too: at first 9.5 MiB per file for "unxz" and
            3.5 for "unzstd", or more if there is that much for every slot. A file that needs more starts
            again when it fits.
        max_output: the most bytes that a transform may make of one file, and the most that one file in an
            archive may have; None (default) for no limit.
        max_ratio: the most bytes that a transform may make of each byte of a file, or unpacking of each byte
            in an archive, checked from 64 MiB on; None for no limit. Default: 250, far more than text expands
            to, and far less than a decompression bomb.
        extra_args: settings for the destination, named as in boto3's `upload_fileobj(ExtraArgs=...)`. They
            override the headers kept from the source.

    Raises:
        ConfigError: a value has the wrong type or is outside its limits, which the message names.
    """

    memory_limit: Annotated[
        Annotated[int, Meta(ge=1)] | None, Meta(description="bytes for all parts in flight together")
    ] = None
    chunk_size: Annotated[
        int, Meta(ge=16 * KiB, le=16 * MiB, description="bytes read at a time, 16 KiB to 16 MiB")
    ] = 256 * KiB
    max_concurrency: Annotated[
        int, Meta(ge=1, le=1000, description="the most parts or files in flight, 1 to 1000")
    ] = 10
    part_size: Annotated[
        Annotated[int, Meta(ge=plan.MIN_PART, le=plan.MAX_PART)] | Literal["auto"],
        Meta(description='bytes of a part, 5 MiB (5242880) to 5 GiB (5368709120), or "auto"'),
    ] = "auto"
    multipart: Annotated[bool, Meta(description="whether to copy the parts of all files at once")] = False
    max_attempts: Annotated[int, Meta(ge=1, le=100, description="tries of a request or part, 1 to 100")] = 4
    retry_base_delay: Annotated[float, Meta(gt=0, description="seconds, bound of the first wait")] = 0.1
    retry_max_delay: Annotated[float, Meta(gt=0, description="seconds, bound of every wait")] = 5.0
    retry_max_wait: Annotated[float, Meta(gt=0, description="seconds, bound of all waits together")] = 30.0
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
        Meta(description="whether files unfinished at the deadline fail, or can be continued"),
    ] = "fail"
    if_exists: Annotated[
        Literal["overwrite", "skip", "fail"],
        Meta(description="how to handle a file whose destination exists"),
    ] = "overwrite"
    copy_tags: Annotated[bool, Meta(description="whether to copy the tags of the source")] = False
    transform: Annotated[
        str | None, Meta(description="transform of each file: gunzip, or module:function, or a,b,c")
    ] = None
    max_output: Annotated[
        Annotated[int, Meta(ge=1)] | None, Meta(description="the most bytes to make of one file")
    ] = None
    max_ratio: Annotated[
        Annotated[float, Meta(gt=0)] | None, Meta(description="the most bytes to make of each byte of a file")
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

        Sizes are bytes, booleans are `true` or `false`, and `ASYNCSTREAM_EXTRA_ARGS` is a JSON object. An
        empty variable counts as unset: templates write such variables.

        Raises:
            ConfigError: the JSON is malformed, or a variable with this prefix is not a setting.
        """
        ends = (SOURCE_PREFIX, DESTINATION_PREFIX)  # `S3Access` checks these
        own = {name: text for name, text in variables.items() if name != UNPACK and not name.startswith(ends)}
        check_names(own, ENV_PREFIX, cls.__struct_fields__, cls.__name__)
        given = super().read_variables(variables)
        if "extra_args" in given:
            try:
                given["extra_args"] = msgspec.json.decode(given["extra_args"])
            except msgspec.DecodeError as error:
                raise ConfigError(f"{ENV_PREFIX}EXTRA_ARGS is not JSON: {error}") from None
        return given

    def _masked(self) -> dict[str, Any]:
        # extra_args may contain keys: only the names are shown.
        return {"extra_args": sorted(map(str, self.extra_args))}

    def _refusal(self, error: msgspec.ValidationError) -> str:
        name, what = explained(error)
        # extra_args may contain keys: their values are never repeated.
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
    """Return the setting that a msgspec error is about ("" if none), and the message with its description."""
    what, _, path = str(error).partition(" - at ")
    match = re.search(r"(\w+)(?:\[\.\.\.\])?`$", path)
    name = match[1] if match else ""
    if name not in _DESCRIPTIONS:
        return "", str(error)
    return name, f"{what} ({_DESCRIPTIONS[name]})"


def chunk_size_within(size: int, lambda_memory: int | None) -> int:
    """Return the bytes to read at a time: in Lambda at most a 256th of the function's memory.

    The allocators of threads keep freed buffers of megabytes. *Measured*: chunks of 8 MiB in three slots,
    57 MiB in all, killed a function of 128 MB.

    Args:
        size: the configured bytes.
        lambda_memory: bytes of the Lambda function, None outside Lambda.
    """
    if lambda_memory is None or size <= lambda_memory // CHUNKS_IN_MEMORY:
        return size
    most = lambda_memory // CHUNKS_IN_MEMORY
    logger.warning("chunk_size of %d bytes is too much for the function's memory: using %d bytes", size, most)
    return most


def memory_left(lambda_memory: int | None, resident: int) -> float:
    """Return the bytes of a function's memory that are free after init; infinity outside Lambda."""
    return math.inf if lambda_memory is None else lambda_memory - resident - LAMBDA_MARGIN


def memory_limit_or_default(limit: int | None, lambda_memory: int | None, resident: int) -> int:
    """Return the bytes that all parts in flight may take.

    Args:
        limit: the configured bytes, maybe from an event. In Lambda, lowered to the bytes that are free.
        lambda_memory: bytes of the Lambda function, None outside Lambda.
        resident: bytes that the process uses after init.

    Raises:
        ConfigError: the function has no memory left for a transfer.
    """
    if lambda_memory is None:
        return DEFAULT_MEMORY_LIMIT if limit is None else limit
    left = int(memory_left(lambda_memory, resident))
    if left <= 0:
        raise ConfigError(
            f"the function's {lambda_memory // MiB} MB leave no memory for a transfer: "
            f"{resident // MiB} MiB are in use after init. Give the function more memory."
        )
    if limit is None or limit <= left:
        return left if limit is None else limit
    logger.warning("memory_limit of %d bytes is more than the function has left: using %d bytes", limit, left)
    return left
