"""What a comparison is to do, checked before anything starts; read from the command line by `cli.py`."""

import argparse
import shlex
from dataclasses import dataclass

from asyncstream.errors import InputError
from asyncstream.lab.compare import variants, workloads
from asyncstream.lab.compare.variants import VARIANTS, Variant
from asyncstream.lab.s3 import NetworkModel
from asyncstream.report import prices
from asyncstream.report.measurement import Workload
from asyncstream.report.rows import Billing
from asyncstream.report.sizing import LARGEST_MB, SMALLEST_MB


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """What to compare.

    Attributes:
        command: the command line that asks for it, told with the results.
        concurrency: files or parts in flight, where a variant has several at once.
        memory: sizes of function to sweep, in MB; empty: each way has all it wants.
        traced: whether every run is traced.
        repeated: whether one variant is measured twice.
        model: the lab's network model; not used with `endpoint_url`.
        endpoint_url: another S3 than the lab's.
        source_bucket, destination_bucket: buckets there; None makes new ones.
    """

    command: str
    workloads: list[Workload]
    variants: list[Variant]
    rounds: int
    concurrency: int
    memory: list[int]
    traced: bool
    repeated: bool
    billing: Billing
    model: str
    tls: bool = False
    endpoint_url: str | None = None
    source_bucket: str | None = None
    destination_bucket: str | None = None


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
        NetworkModel.parse(options.model)
    except ValueError as error:
        raise InputError(str(error)) from None
    if options.endpoint_url is None and (options.source_bucket or options.destination_bucket):
        raise InputError("buckets can only be named together with --endpoint-url")
    return Settings(
        command=shlex.join(["asyncstream", *options.arguments]),
        workloads=files,
        variants=variants.chosen(options.variants.split(",")) if options.variants else list(VARIANTS),
        rounds=options.rounds,
        concurrency=options.concurrency,
        memory=memory,
        traced=options.trace,
        repeated=options.repeat,
        billing=Billing(prices.load(options.prices), options.architecture),
        model=options.model,
        tls=options.tls,
        endpoint_url=options.endpoint_url,
        source_bucket=options.source_bucket,
        destination_bucket=options.destination_bucket,
    )


def _sizes(text: str) -> list[int]:
    """Read `128,512,1769`."""
    try:
        sizes = sorted({int(size) for size in text.split(",")})
    except ValueError:
        raise InputError(f"--memory {text!r}: write sizes in MB, such as 128,512,1769") from None
    for size in sizes:
        _check_number("--memory", size, SMALLEST_MB, LARGEST_MB)
    return sizes


def _check_number(name: str, number: int, least: int, most: int) -> None:
    if not least <= number <= most:
        raise InputError(f"{name} {number}: from {least:,} to {most:,}")
