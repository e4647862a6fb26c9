"""Where a comparison runs, its S3 and its functions: this machine or a stack; chosen by `comparing.py`."""

import os
import platform
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

from asyncstream.lab.compare.deployed import DeployedFunctions
from asyncstream.lab.compare.endpoint import EndpointTestbed
from asyncstream.lab.compare.functions import Functions
from asyncstream.lab.compare.rounds import Candidate
from asyncstream.lab.compare.sandboxed import SandboxedFunctions
from asyncstream.lab.compare.settings import Settings
from asyncstream.lab.compare.stack import read_stack
from asyncstream.lab.compare.testbed import LabTestbed, Testbed
from asyncstream.report.comparison import Environment, Network
from asyncstream.report.rows import Billing


@dataclass(frozen=True, slots=True)
class Site:
    """One of them, not opened yet.

    Attributes:
        candidates: what takes turns, the sizes of function together.
        environment, network, billing: told with the results.
        testbed: opens the S3.
        functions: opens the functions, once the S3 is there.
    """

    candidates: list[Candidate]
    environment: Environment
    network: Network
    billing: Billing
    testbed: Callable[[], AbstractContextManager[Testbed]]
    functions: Callable[[Testbed], AbstractContextManager[Functions]]


def site_of(settings: Settings) -> Site:
    """The one that the settings ask for.

    Raises:
        InputError, AsyncstreamError: there is no such stack, or it cannot be read.
    """
    return _this_machine(settings) if settings.stack is None else _deployed(settings, settings.stack)


def _this_machine(settings: Settings) -> Site:
    endpoint = settings.endpoint_url

    def testbed() -> AbstractContextManager[Testbed]:
        if endpoint is None:
            return LabTestbed(settings.model, tls=settings.tls, faults=settings.faults)
        return EndpointTestbed(endpoint, settings.source, settings.destination)

    def functions(testbed: Testbed) -> AbstractContextManager[Functions]:
        # Where `asyncstream` finds a function of the user's, so does the sandbox.
        more_code = [Path.cwd()] if ":" in (settings.transform or "") else []
        return SandboxedFunctions(
            settings.variants, testbed.environment(), traced=settings.traced, more_code=more_code
        )

    sizes: list[int | None] = [*settings.memory] or [None]
    return Site(
        candidates=[(variant, size) for size in sizes for variant in settings.variants],
        environment=environment(),
        network=Network(
            endpoint or LabTestbed.server,
            None if endpoint else settings.model,
            endpoint.startswith("https") if endpoint else settings.tls,
            settings.faults,
        ),
        billing=Billing(settings.prices, settings.architecture or "arm64"),
        testbed=testbed,
        functions=functions,
    )


def _deployed(settings: Settings, name: str) -> Site:
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
        testbed=lambda: EndpointTestbed(None, stack.source, stack.destination),
        functions=lambda _: DeployedFunctions(stack, traced=settings.traced),
    )


def environment() -> Environment:
    """This machine and the SDKs that are installed here."""
    packages = {name: metadata.version(name) for name in ("boto3", "aioboto3")}
    return Environment(
        len(os.sched_getaffinity(0)),
        f"{platform.system()} {platform.machine()}",
        platform.python_version(),
        packages,
    )
