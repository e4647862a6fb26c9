"""What a comparison is to do, checked before anything starts; read from the command line by `cli.py`."""

import argparse
import shlex
from dataclasses import dataclass

from asyncstream.errors import InputError
from asyncstream.lab.compare import variants, workloads
from asyncstream.lab.compare.variants import VARIANTS, Variant
from asyncstream.lab.s3 import NetworkModel
from asyncstream.locations import S3Prefix
from asyncstream.report import prices
from asyncstream.report.measurement import Workload
from asyncstream.report.prices import Architecture, PriceTable
from asyncstream.report.sizing import LARGEST_MB, SMALLEST_MB
from asyncstream.transforms import NAMES

# One fit of an article's figures from Lambda.
DEFAULT_MODEL = "53/90/25"


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """What to compare.

    Attributes:
        command: the command line that asks for it, told with the results.
        concurrency: files or parts in flight, where a variant has several at once.
        memory: sizes of function to sweep, in MB; empty: each way has all it wants.
        traced: whether every run is traced.
        repeated: whether one variant is measured twice.
        architecture: to bill; None: that of the functions, which the sandbox takes for arm64.
        model: the lab's network model; not used with `endpoint_url` or `stack`.
        faults: the share of requests to the lab's S3 that go wrong; None: faults are no subject.
        endpoint_url: another S3 than the lab's.
        source, destination: buckets there; None makes new ones.
        stack: compare its deployed functions, instead of those in the sandbox.
        transform: what is made of each file; None: copies.
    """

    command: str
    workloads: list[Workload]
    variants: list[Variant]
    rounds: int
    concurrency: int
    memory: list[int]
    traced: bool
    repeated: bool
    prices: PriceTable
    architecture: Architecture | None
    model: str
    tls: bool = False
    faults: float | None = None
    endpoint_url: str | None = None
    source: S3Prefix | None = None
    destination: S3Prefix | None = None
    stack: str | None = None
    transform: str | None = None


def checked(options: argparse.Namespace) -> Settings:
    """The command line's options as settings.

    Raises:
        InputError, ConfigError: one of them is wrong; nothing has been started.
    """
    _check_number("--rounds", options.rounds, 1, 100)
    _check_number("--concurrency", options.concurrency, 1, 1000)
    memory = _sizes(options.memory) if options.memory else []
    files = [workloads.parse(text) for text in options.files or workloads.DEFAULT]
    if len(set(files)) < len(files):
        raise InputError("--files names the same files twice")
    try:
        NetworkModel.parse(options.model or DEFAULT_MODEL)
    except ValueError as error:
        raise InputError(str(error)) from None
    if options.endpoint_url is None and (options.source_bucket or options.destination_bucket):
        raise InputError("buckets can only be named together with --endpoint-url")
    if options.faults is not None:
        _check_faults(options)
    if options.stack is not None:
        _check_alone(options)
    if options.transform is not None:
        _check_transform(options.transform)
    return Settings(
        command=shlex.join(["asyncstream", *options.arguments]),
        workloads=files,
        variants=_variants(options),
        rounds=options.rounds,
        concurrency=options.concurrency,
        memory=memory,
        traced=options.trace,
        repeated=options.repeat,
        prices=prices.load(options.prices),
        architecture=options.architecture,
        model=options.model or DEFAULT_MODEL,
        tls=options.tls,
        faults=options.faults,
        endpoint_url=options.endpoint_url,
        source=S3Prefix(options.source_bucket) if options.source_bucket else None,
        destination=S3Prefix(options.destination_bucket) if options.destination_bucket else None,
        stack=options.stack,
        transform=options.transform,
    )


def _check_alone(options: argparse.Namespace) -> None:
    """Refuse with --stack what is about the local comparison."""
    for name in ("model", "tls", "endpoint_url"):
        if getattr(options, name):
            raise InputError(f"--{name.replace('_', '-')} cannot be had with --stack: AWS is what it is")


def _check_faults(options: argparse.Namespace) -> None:
    """Refuse a share that is none, and faults where nobody can make them."""
    _check_number("--faults", options.faults, 0, 1)
    for name in ("stack", "endpoint_url"):
        if getattr(options, name):
            other = name.replace("_", "-")
            raise InputError(f"--faults cannot be had with --{other}: only the lab's S3 goes wrong at will")


def _check_transform(transform: str) -> None:
    """Refuse what has no use for the files that are compared with."""
    first = transform.partition(",")[0]
    if first in NAMES and first.startswith(("un", "gun", "bun")):
        raise InputError(
            f"--transform {first}: the files are random bytes, which no decompressor takes: compare gzip, "
            "zstd or a function of yours"
        )


def _variants(options: argparse.Namespace) -> list[Variant]:
    if not options.variants:
        if options.transform is not None:
            return variants.transforming()
        return list(VARIANTS) if options.stack is None else variants.deployed()
    asked = variants.chosen(options.variants.split(","))
    theirs = [variant.way.name for variant in asked if variant.way.reference]
    if theirs and options.stack is not None:
        raise InputError(
            f"--variants {theirs[0]}: it is not among a stack's functions, which are asyncstream's"
        )
    if theirs and options.transform is not None:
        raise InputError(f"--variants {theirs[0]}: it cannot be had with --transform, as it only copies")
    return asked


def _sizes(text: str) -> list[int]:
    """Read `128,512,1769`."""
    try:
        sizes = sorted({int(size) for size in text.split(",")})
    except ValueError:
        raise InputError(f"--memory {text!r}: write sizes in MB, such as 128,512,1769") from None
    for size in sizes:
        _check_number("--memory", size, SMALLEST_MB, LARGEST_MB)
    return sizes


def _check_number(name: str, number: float, least: int, most: int) -> None:
    if not least <= number <= most:
        raise InputError(f"{name} {number}: from {least:,} to {most:,}")
