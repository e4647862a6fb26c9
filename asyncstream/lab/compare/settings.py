"""The settings of a comparison, checked before anything starts."""

import argparse
import math
import shlex
from dataclasses import dataclass

from asyncstream import prices
from asyncstream.errors import ConfigError, InputError
from asyncstream.gathering.postgres.config import DatabaseConfig
from asyncstream.gathering.postgres.conninfo import parameters
from asyncstream.lab.compare import variants, workloads
from asyncstream.lab.compare.variants import GATHERING, VARIANTS, Variant
from asyncstream.lab.report.measurement import Pages, Workload
from asyncstream.lab.report.sizing import LARGEST_MB, SMALLEST_MB
from asyncstream.lab.s3 import NetworkModel
from asyncstream.lab.server_process import LabError, require_linux
from asyncstream.lab.web import WebModel, least_seconds
from asyncstream.locations import S3Prefix
from asyncstream.prices import Architecture, PriceTable
from asyncstream.transforms import NAMES

# Each is fitted to an article's figures from Lambda.
DEFAULT_MODEL = "53/90/25"
DEFAULT_WEB_MODEL = "187.5/1/9.5"
COPYING_AT_ONCE, GATHERING_AT_ONCE = 10, 60
DEFAULT_PAGES, MAX_PAGES = 80, 20_000
DEFAULT_HOSTS, MAX_HOSTS = 20, 200
# With this seed, the mean of the sampled pages is within 1 % of the distribution's mean.
SEED = 1
# Options of only one of the workloads.
ONLY_S3 = (
    "files",
    "transform",
    "faults",
    "tls",
    "stack",
    "endpoint_url",
    "source_bucket",
    "destination_bucket",
)
ONLY_WEB = ("pages", "hosts", "dsn")


@dataclass(frozen=True, slots=True, kw_only=True)
class CopySettings:
    """Settings of a comparison that copies files.

    Attributes:
        model: the lab's network model; not used with `endpoint_url` or `stack`.
        faults: the share of requests to the lab's S3 that fail; None: reports do not mention faults.
        endpoint_url: URL of an S3 other than the lab's.
        source, destination: buckets there. None: new ones are created.
        stack: the CloudFormation stack whose functions are compared. None: functions in the sandbox.
        transform: the transform of each file; None: copies.
    """

    model: str
    tls: bool
    faults: float | None
    endpoint_url: str | None
    source: S3Prefix | None
    destination: S3Prefix | None
    stack: str | None
    transform: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class GatherSettings:
    """Settings of a comparison that gathers pages.

    Attributes:
        web: the model of the pages.
        latency: average seconds until a page starts.
        hosts: the number of hosts that serve the pages.
        round_trip: minimum seconds of a round trip to Postgres; None with `dsn`.
        dsn: DSN of a Postgres to use instead of a local one.
    """

    web: WebModel
    latency: float
    hosts: int
    round_trip: float | None
    dsn: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Settings of a comparison.

    Attributes:
        command: the command line, for the reports, without passwords.
        concurrency: files, parts or pages in flight, for concurrent variants.
        memory: function sizes to try, in MB; empty: no limits.
        traced: whether every run is traced.
        repeated: whether one variant is measured twice.
        architecture: the processor whose prices apply. None: that of the functions, arm64 in the sandbox.
        servers: settings of the servers: of S3, or of the web and Postgres.
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
    servers: CopySettings | GatherSettings


def check_settings(options: argparse.Namespace) -> Settings:
    """Return the command line's options as settings.

    Raises:
        InputError, ConfigError: an option is wrong. Nothing has been started.
    """
    gathering = options.workload == "web"
    _check_options(options, ONLY_S3 if gathering else ONLY_WEB)
    if options.stack is None:
        _check_platform()
    _check_number("--rounds", options.rounds, 1, 100)
    concurrency = options.concurrency
    if concurrency is None:
        concurrency = GATHERING_AT_ONCE if gathering else COPYING_AT_ONCE
    _check_number("--concurrency", concurrency, 1, 1000)
    memory = _sizes(options.memory) if options.memory else []
    servers = _gathering(options) if gathering else _copying(options)
    return Settings(
        command=_command(options),
        workloads=_workloads(options, servers, concurrency),
        variants=_variants(options),
        rounds=options.rounds,
        concurrency=concurrency,
        memory=memory,
        traced=options.trace,
        repeated=options.repeat,
        prices=prices.load(options.prices),
        architecture=options.architecture,
        servers=servers,
    )


def _check_platform() -> None:
    try:
        require_linux("asyncstream compare without --stack")
    except LabError as error:
        raise ConfigError(f"{error}, or compare a deployed stack") from error


def _check_options(options: argparse.Namespace, unwanted: tuple[str, ...]) -> None:
    """Refuse options of the other workload."""
    for name in unwanted:
        given = getattr(options, name)
        if given is not None and given is not False:  # --faults 0 is given, too
            option = name.replace("_", "-")
            other = "web" if name in ONLY_WEB else "s3"
            raise InputError(
                f"--{option} does not work with --workload {options.workload}: use it with --workload {other}"
            )


def _command(options: argparse.Namespace) -> str:
    """Return the command line for reports, without the DSN, which may contain a password."""
    arguments = options.arguments
    if options.dsn:
        arguments = [argument.replace(options.dsn, "DSN") for argument in arguments]
    return shlex.join(["asyncstream", *arguments])


def _copying(options: argparse.Namespace) -> CopySettings:
    try:
        NetworkModel.parse(options.model or DEFAULT_MODEL)
    except ValueError as error:
        raise InputError(str(error)) from None
    if options.endpoint_url is None and (options.source_bucket or options.destination_bucket):
        raise InputError("--source-bucket and --destination-bucket need --endpoint-url")
    if options.faults is not None:
        _check_faults(options)
    if options.stack is not None:
        _check_alone(options)
    if options.transform is not None:
        _check_transform(options.transform)
    return CopySettings(
        model=options.model or DEFAULT_MODEL,
        tls=options.tls,
        faults=options.faults,
        endpoint_url=options.endpoint_url,
        source=S3Prefix(options.source_bucket) if options.source_bucket else None,
        destination=S3Prefix(options.destination_bucket) if options.destination_bucket else None,
        stack=options.stack,
        transform=options.transform,
    )


def _gathering(options: argparse.Namespace) -> GatherSettings:
    _check_number("--pages", _pages(options), 1, MAX_PAGES)
    hosts = DEFAULT_HOSTS if options.hosts is None else options.hosts
    _check_number("--hosts", hosts, 1, MAX_HOSTS)
    if options.dsn is not None:
        parameters(DatabaseConfig(dsn=options.dsn))  # raises if the DSN is malformed
    latency, sigma, round_trip = _web_model(options.model, own_postgres=options.dsn is None)
    return GatherSettings(
        web=WebModel.averaging(latency, _pages(options), sigma, SEED),
        latency=latency,
        hosts=hosts,
        round_trip=round_trip,
        dsn=options.dsn,
    )


def _pages(options: argparse.Namespace) -> int:
    count: int = DEFAULT_PAGES if options.pages is None else options.pages
    return count


def _web_model(text: str | None, *, own_postgres: bool) -> tuple[float, float, float | None]:
    """Parse "187.5/1/9.5": ms per page, their spread, and ms per round trip to a local Postgres.

    Returns:
        Seconds per page, the spread, and seconds per round trip or None.
    """
    parts = 3 if own_postgres else 2
    if text == "off":
        return 0.0, 0.0, 0.0 if own_postgres else None
    shown = "/".join(DEFAULT_WEB_MODEL.split("/")[:parts])
    found = text or shown
    try:
        numbers = [float(number) for number in found.split("/")]
    except ValueError:
        numbers = []
    if len(numbers) != parts or not all(math.isfinite(number) and number >= 0 for number in numbers):
        postgres = " / ms per round trip to Postgres" if own_postgres else " (with --dsn only these two)"
        raise InputError(
            f"--model {found!r} is not a model: write average ms per page / sigma of their spread{postgres}, "
            f'such as {shown}, or "off"'
        )
    latency, sigma, *rest = numbers
    _check_number("--model: ms per page,", latency, 0, 60_000)
    _check_number("--model: sigma", sigma, 0, 3)
    for round_trip in rest:
        _check_number("--model: ms per round trip,", round_trip, 0, 1000)
    return latency / 1000, sigma, rest[0] / 1000 if rest else None


def _workloads(
    options: argparse.Namespace, servers: CopySettings | GatherSettings, concurrency: int
) -> list[Workload]:
    if isinstance(servers, GatherSettings):
        count = _pages(options)
        seconds = [servers.web.seconds(number) for number in range(count)]
        return [
            Pages(count, servers.web.rows, sum(seconds), max(seconds), least_seconds(seconds, concurrency))
        ]
    files: list[Workload] = [workloads.parse(text) for text in options.files or workloads.DEFAULT]
    if len(set(files)) < len(files):
        raise InputError("--files names the same files twice: name each COUNTxSIZE once")
    return files


def _check_alone(options: argparse.Namespace) -> None:
    """Refuse options of the local comparison with --stack."""
    for name in ("model", "tls", "endpoint_url"):
        if getattr(options, name):
            raise InputError(f"--{name.replace('_', '-')} does not work with --stack: leave it out")


def _check_faults(options: argparse.Namespace) -> None:
    """Refuse a share outside 0 to 1, and faults without the lab's S3."""
    _check_number("--faults", options.faults, 0, 1)
    for name in ("stack", "endpoint_url"):
        if getattr(options, name):
            other = name.replace("_", "-")
            raise InputError(f"--faults does not work with --{other}: only the lab's S3 can inject faults")


def _check_transform(transform: str) -> None:
    """Refuse transforms that do not accept the comparison's files."""
    first = transform.partition(",")[0]
    if first in NAMES and first.startswith(("un", "gun", "bun")):
        raise InputError(
            f"--transform {first}: the files are random bytes, which no decompressor accepts: compare gzip, "
            "zstd or your own function"
        )


def _variants(options: argparse.Namespace) -> list[Variant]:
    if options.workload == "web":
        return variants.chosen(options.variants, GATHERING) if options.variants else list(GATHERING)
    if not options.variants:
        if options.transform is not None:
            return variants.transforming()
        return list(VARIANTS) if options.stack is None else variants.deployed()
    asked = variants.chosen(options.variants, VARIANTS)
    theirs = [variant.way.name for variant in asked if variant.way.reference]
    if theirs and options.stack is not None:
        raise InputError(
            f"--variants {theirs[0]} does not work with --stack, which has only asyncstream's functions"
        )
    if theirs and options.transform is not None:
        raise InputError(f"--variants {theirs[0]} does not work with --transform, because it only copies")
    return asked


def _sizes(text: str) -> list[int]:
    """Parse `128,512,1769`."""
    try:
        sizes = sorted({int(size) for size in text.split(",")})
    except ValueError:
        raise InputError(f"--memory {text!r}: write sizes in MB, such as 128,512,1769") from None
    for size in sizes:
        _check_number("--memory", size, SMALLEST_MB, LARGEST_MB)
    return sizes


def _check_number(name: str, number: float, least: int, most: int) -> None:
    if not least <= number <= most:
        raise InputError(f"{name} {number} is out of range: use {least:,} to {most:,}")
