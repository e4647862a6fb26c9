"""`compare`: runs a comparison and returns its results, also if Ctrl-C ends it early."""

from datetime import UTC, datetime

from asyncstream.errors import AsyncstreamError
from asyncstream.lab.compare.display import Display
from asyncstream.lab.compare.functions import Functions
from asyncstream.lab.compare.harness import Turn
from asyncstream.lab.compare.rounds import take, turns
from asyncstream.lab.compare.settings import Settings
from asyncstream.lab.compare.site import Site, choose_site
from asyncstream.lab.compare.variants import repeated
from asyncstream.lab.report.comparison import Comparison
from asyncstream.lab.report.measurement import Failure, Measured, Run, Workload
from asyncstream.lab.report.rows import section
from asyncstream.lab.server_process import LabError

# The reason for an early end if the user stopped the comparison.
CTRL_C = "Ctrl-C"

Done = list[tuple[Turn, Run | Failure]]


def compare(settings: Settings, display: Display) -> Comparison:
    """Run the comparison. After Ctrl-C, clean up and return the measurements so far."""
    created = datetime.now(UTC).isoformat(timespec="seconds")
    site = choose_site(settings)
    again = repeated(settings.variants) if settings.repeated else None
    planned = list(turns(settings.rounds, settings.workloads, site.candidates, again))
    limits = ""
    done: Done = []
    ended_early: str | None = None
    untraced: str | None = None
    try:
        with (
            display.showing(len(planned)),
            site.harness() as harness,
            site.functions(harness) as functions,
        ):
            limits = functions.limits
            for workload in settings.workloads:
                display.preparing(workload)
                harness.prepare(workload)
            for turn in planned:
                display.started(turn)
                run = take(turn, harness, functions)
                done.append((turn, run))
                display.finished(turn, run)
            done, untraced = _with_traces(done, functions)
    except KeyboardInterrupt:
        ended_early = CTRL_C
    except (AsyncstreamError, LabError) as error:
        if not done:
            raise AsyncstreamError(str(error)) from error
        ended_early = str(error)
    return _comparison(settings, site, created, limits, done, ended_early, untraced)


def _with_traces(done: Done, functions: Functions) -> tuple[Done, str | None]:
    """Return the measurements with their traces. Ctrl-C ends the wait for traces and loses nothing else."""
    try:
        runs, untraced = functions.with_traces([run for _, run in done])
    except KeyboardInterrupt:
        return done, CTRL_C
    return [(turn, run) for (turn, _), run in zip(done, runs, strict=True)], untraced


def _comparison(
    settings: Settings,
    site: Site,
    created: str,
    limits: str,
    done: Done,
    ended_early: str | None,
    untraced: str | None,
) -> Comparison:
    return Comparison(
        command=settings.command,
        created=created,
        environment=site.environment,
        network=site.network,
        concurrency=settings.concurrency,
        rounds=settings.rounds,
        billing=site.billing,
        memory=sorted({size for _, size in site.candidates if size is not None}),
        limits=limits,
        sections=[
            section(workload, _measured(settings, site, workload, done), site.billing)
            for workload in settings.workloads
        ],
        verified=sum(isinstance(run, Run) for _, run in done),
        ended_early=ended_early,
        untraced=untraced,
        transform=site.transform,
    )


def _measured(settings: Settings, site: Site, workload: Workload, done: Done) -> list[Measured]:
    """Return all runs of one workload, ordered by variant and then by size."""
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
        for candidate, size in site.candidates
        if candidate == variant
        for repeat in (False, True)
    ]
