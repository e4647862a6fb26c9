"""`RunInput`: what the state machine, or a caller of a step, asks for. Does no I/O."""

import json
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal

from msgspec import Meta, Struct, structs

from asyncstream.errors import InputError
from asyncstream.events.deployment import Deployment
from asyncstream.events.reading import at
from asyncstream.locations import MOST_RANGES, S3Object, S3Prefix, rebased
from asyncstream.pipeline.config import TransferConfig
from asyncstream.pipeline.memory import lambda_memory
from asyncstream.pipeline.pairs import check_pairs
from asyncstream.runs.costs import Speeds
from asyncstream.runs.descriptions import SourceKind
from asyncstream.runs.plan_requests import MOST_FUNCTIONS, PlanRequest
from asyncstream.runs.unzipping import Entries
from asyncstream.units import MiB

# Part of the names of customers' keys in `extra_args`.
_KEY = "CustomerKey"
# Fields that only one kind of source has.
_OPTIONS: Mapping[str, Sequence[str]] = {
    "zip": ("version_id", "select", "encoding", "as_gzip"),
    "lines": ("ranges", "header", "join"),
}
_LISTS = ("inventory", "jsonl", "csv")


class RunInput(Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """What to plan or to estimate. The state machine passes its whole input, with its defaults.

    Attributes:
        action: "copy", "estimate" or "abort". Only the state machine reads it.
        estimate_only: the same as the action "estimate".
        kind: what `source` is; see `SourceKind`.
        source: the prefix, the manifest of an inventory, the list, the archive or the text. Empty, if `run`
            names an earlier run.
        destination: the prefix to copy to; empty for the deployed one, which replaces the deployed source.
        run: an earlier run to do again, or to abort: `s3://bucket/RUN/`.
        settings: settings of TransferConfig that override the function's own.
        functions: how many functions may run at once.
        version_id: of an archive: its version; empty for the current one.
        select: of an archive: a pattern of names.
        encoding: of an archive: the encoding of names that are not marked as UTF-8.
        as_gzip: of an archive: whether to make gzip files without inflating.
        ranges: of a text: the number of ranges to cut it into; 0: chosen by its size.
        header: of a text: whether the first line is put at the start of each range.
        join: of a text: the object to put the ranges together in at the end.
    """

    action: Literal["copy", "estimate", "abort"] = "copy"
    estimate_only: bool = False
    kind: SourceKind = "prefix"
    source: str = ""
    destination: str = ""
    run: str = ""
    settings: TransferConfig = TransferConfig()
    functions: Annotated[int, Meta(ge=1, le=MOST_FUNCTIONS)] = 50
    version_id: str = ""
    select: Annotated[str, Meta(min_length=1)] = "*"
    encoding: str = ""
    as_gzip: bool = False
    ranges: Annotated[int, Meta(ge=0, le=MOST_RANGES)] = 0
    header: bool = False
    join: str = ""


def plan_request(
    asked: RunInput, settings: Mapping[str, Any], deployment: Deployment, config: TransferConfig
) -> PlanRequest:
    """Return what to plan, with the deployed destination if none is named.

    Args:
        asked: the input.
        settings: `asked.settings`, as the event has them.
        deployment: what the function may touch.
        config: the function's own settings.

    Raises:
        InputError: a text is malformed, fields contradict each other, or a place is outside the deployment.
        ConfigError: the function is deployed without a destination, and the input names none; or a setting
            contradicts the function's own.
    """
    check_source(asked)
    if not asked.source:
        raise InputError("the input has no `source`: name what to copy, or the `run` of an earlier execution")
    _check_options(asked)
    _check_settings(settings, deployment)
    source, destination = _places(asked, deployment)
    return PlanRequest(
        source=source.uri,
        destination=destination.uri,
        kind=asked.kind,
        settings=settings,
        functions=asked.functions,
        speeds=_speeds(config.override(settings)),
        strip=_strip(asked, deployment),
        version_id=asked.version_id,
        select=asked.select,
        encoding=asked.encoding,
        as_gzip=asked.as_gzip,
        unpack=deployment.unpack and not asked.destination,
        ranges=asked.ranges,
        header=asked.header,
        join=asked.join,
    )


def _speeds(config: TransferConfig) -> Speeds:
    """Return how fast a function like this one is."""
    memory = lambda_memory()
    usual = Speeds(slots=config.max_concurrency)
    return usual if memory is None else structs.replace(usual, memory_mb=memory // MiB)


def _strip(asked: RunInput, deployment: Deployment) -> str | None:
    """Return the start of the keys in a list, which the destination replaces; None for other kinds."""
    if asked.kind not in _LISTS:
        return None
    return deployment.source.prefix if deployment.source is not None else ""


def check_source(asked: RunInput) -> None:
    """Check that an input does not ask for a new run and an earlier one."""
    if asked.source and asked.run:
        raise InputError("the input has `source` and `run`: name a source for a new run, or an earlier run")


def _check_options(asked: RunInput) -> None:
    defaults = RunInput()
    for kind, names in _OPTIONS.items():
        for name in names:
            if kind != asked.kind and getattr(asked, name) != getattr(defaults, name):
                raise InputError(
                    f"the input has the kind {asked.kind!r}: leave out `{name}`, which is for {kind!r}"
                )


def _check_settings(settings: Mapping[str, Any], deployment: Deployment) -> None:
    deployment.check_settings(settings)
    if _KEY in json.dumps(settings):
        raise InputError(
            "`settings` has a customer's key, which the run would store in its bucket: copy these files by "
            "direct events"
        )


def _places(asked: RunInput, deployment: Deployment) -> tuple[S3Object | S3Prefix, S3Prefix]:
    """Return the source and the destination, both within the deployed prefixes."""
    source: S3Object | S3Prefix
    if asked.kind == "prefix":
        source = at("$.source", S3Prefix.from_uri, asked.source)
    else:
        source = at("$.source", S3Object.from_uri, asked.source, asked.version_id or None)
    deployment.check_read(source)
    if asked.destination:
        destination = at("$.destination", S3Prefix.from_uri, asked.destination)
    else:
        destination = _deployed_destination(source, asked, deployment)
    deployment.check_written(destination)
    if asked.join:
        deployment.check_written(at("$.join", S3Object.from_uri, asked.join))
    _check_pair(source, destination, asked, one_server=deployment.one_server)
    return source, destination


def _deployed_destination(source: S3Object | S3Prefix, asked: RunInput, deployment: Deployment) -> S3Prefix:
    base, destination = deployment.bases(source)
    if isinstance(source, S3Prefix):
        return S3Prefix(destination.bucket, rebased(source.prefix, base, destination))
    if asked.kind in _OPTIONS:
        return deployment.folder_of(source)
    return destination


def _check_pair(
    source: S3Object | S3Prefix, destination: S3Prefix, asked: RunInput, *, one_server: bool
) -> None:
    """Check what a list or a text does not first have to be read for."""
    if isinstance(source, S3Prefix):
        check_pairs([(source, destination)], one_server=one_server)
    elif asked.kind == "zip":
        entries = Entries(asked.select, asked.encoding or None, asked.as_gzip)
        check_pairs([(at("$.encoding", entries.of, source), destination)])
