"""`compare`: from settings to a whole comparison, also when Ctrl-C ends it early; called by `cli.py`."""

import os
import platform
from datetime import UTC, datetime
from importlib import metadata

from asyncstream.errors import AsyncstreamError
from asyncstream.lab.compare import workloads
from asyncstream.lab.compare.display import Display
from asyncstream.lab.compare.endpoint import EndpointTestbed
from asyncstream.lab.compare.functions import Functions
from asyncstream.lab.compare.rounds import Turn, source_prefix, take, turns
from asyncstream.lab.compare.settings import Settings
from asyncstream.lab.compare.testbed import LabTestbed
from asyncstream.lab.compare.variants import repeated
from asyncstream.lab.server_process import LabError
from asyncstream.report.comparison import Comparison, Environment, Network
from asyncstream.report.measurement import Failure, Measured, Run, Workload
from asyncstream.report.rows import section

# The reason for an early end, where the user gave it.
CTRL_C = "Ctrl-C"


def compare(settings: Settings, display: Display) -> Comparison:
    """Run everything. Ctrl-C ends it early, with what was measured by then and nothing left behind."""
    created = datetime.now(UTC).isoformat(timespec="seconds")
    again = repeated(settings.variants) if settings.repeated else None
    sizes: list[int | None] = [*settings.memory] or [None]
    planned = list(turns(settings.rounds, settings.workloads, settings.variants, sizes, again))
    limits = ""
    done: list[tuple[Turn, Run | Failure]] = []
    ended_early: str | None = None
    try:
        with (
            display.showing(len(planned)),
            _open_testbed(settings) as testbed,
            Functions(settings.variants, testbed.environment(), traced=settings.traced) as functions,
        ):
            limits = functions.limits
            for workload in settings.workloads:
                display.preparing(workload)
                testbed.put_sources(source_prefix(workload), workloads.names(workload), workload.size)
            for turn in planned:
                display.started(turn)
                run = take(turn, testbed, functions, settings.concurrency)
                done.append((turn, run))
                display.finished(turn, run)
    except KeyboardInterrupt:
        ended_early = CTRL_C
    except (AsyncstreamError, LabError) as error:
        if not done:
            raise AsyncstreamError(str(error)) from error
        ended_early = str(error)
    return _comparison(settings, created, limits, done, ended_early)


def _open_testbed(settings: Settings) -> LabTestbed | EndpointTestbed:
    if settings.endpoint_url is None:
        return LabTestbed(settings.model, tls=settings.tls)
    return EndpointTestbed(settings.endpoint_url, settings.source_bucket, settings.destination_bucket)


def _comparison(
    settings: Settings,
    created: str,
    limits: str,
    done: list[tuple[Turn, Run | Failure]],
    ended_early: str | None,
) -> Comparison:
    sections = [
        section(workload, _measured(settings, workload, done), settings.billing)
        for workload in settings.workloads
    ]
    endpoint = settings.endpoint_url
    return Comparison(
        command=settings.command,
        created=created,
        environment=environment(),
        network=Network(
            endpoint or LabTestbed.server,
            None if endpoint else settings.model,
            endpoint.startswith("https") if endpoint else settings.tls,
        ),
        concurrency=settings.concurrency,
        rounds=settings.rounds,
        billing=settings.billing,
        memory=settings.memory,
        limits=limits,
        sections=sections,
        verified=sum(isinstance(run, Run) for _, run in done),
        ended_early=ended_early,
    )


def _measured(
    settings: Settings, workload: Workload, done: list[tuple[Turn, Run | Failure]]
) -> list[Measured]:
    """All runs over one workload: ways in their order, of each its sizes."""
    sizes: list[int | None] = [*settings.memory] or [None]
    return [
        Measured(
            variant.way,
            size,
            [
                run
                for turn, run in done
                if (turn.workload, turn.variant, turn.memory_mb, turn.repeat)
                == (workload, variant, size, repeat)
            ],
            repeat,
        )
        for variant in settings.variants
        for size in sizes
        for repeat in (False, True)
    ]


def environment() -> Environment:
    """This machine and the SDKs that are installed here."""
    packages = {name: metadata.version(name) for name in ("boto3", "aioboto3")}
    return Environment(
        len(os.sched_getaffinity(0)),
        f"{platform.system()} {platform.machine()}",
        platform.python_version(),
        packages,
    )
