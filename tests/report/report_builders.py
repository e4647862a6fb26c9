"""Made-up runs and rows for the tests of this folder."""

from collections.abc import Sequence

from msgspec.structs import replace

from asyncstream.lab.report.comparison import Comparison, Environment, Network, Web
from asyncstream.lab.report.measurement import Failure, Files, Measured, Pages, Run, Way, Workload
from asyncstream.lab.report.rows import Billing, Section, section
from asyncstream.prices import load

TEN_FILES = Files(10, 100_000_000)
EIGHTY_PAGES = Pages(pages=80, rows=10, seconds=15.0, slowest=1.5, floor=1.6)
REQUESTS = {"GetObject": 10, "PutObject": 10}


def a_run(
    seconds: float = 10.0,
    cpu: float = 1.0,
    peak_mib: int = 60,
    requests: dict[str, int] | None = None,
    faults: dict[str, int] | None = None,
    left_open: int = 0,
) -> Run:
    return Run(
        seconds=seconds,
        cpu_seconds=cpu,
        peak_bytes=peak_mib * 2**20,
        init_seconds=0.2,
        init_cpu_seconds=0.15,
        requests=REQUESTS if requests is None else requests,
        faults=faults,
        left_open=left_open,
    )


def measured(
    name: str,
    *runs: Run | Failure,
    label: str = "",
    reference: bool = False,
    memory_mb: int | None = None,
    repeat: bool = False,
) -> Measured:
    return Measured(Way(name, label or name, reference), memory_mb, list(runs), repeat)


def a_section(*rows: Measured, workload: Workload = TEN_FILES) -> Section:
    return section(workload, rows, Billing(load(), "arm64"))


def a_comparison(
    sections: Sequence[Section],
    *,
    rounds: int = 1,
    model: str | None = "53/90/25",
    memory: Sequence[int] = (),
    ended_early: str | None = None,
    faults: float | None = None,
) -> Comparison:
    return Comparison(
        command="asyncstream compare",
        created="2026-11-22T01:00:00+00:00",
        environment=Environment(2, "Linux x86_64", "3.11.7", {"boto3": "1.40.61"}),
        network=Network("the lab", model, tls=False, faults=faults),
        concurrency=10,
        rounds=rounds,
        billing=Billing(load(), "arm64"),
        memory=list(memory),
        limits="cgroup v1",
        sections=list(sections),
        verified=7,
        ended_early=ended_early,
    )


def a_comparison_with_faults() -> Comparison:
    """Return a comparison of a way that met faults, and one that failed because of them."""
    struck = a_run(faults={"reset": 1_200, "SlowDown": 34}, left_open=7)
    rows = [measured("threads", struck), measured("boto3", Failure("Boom: no"), reference=True)]
    return a_comparison([a_section(*rows)], faults=0.05)


def a_comparison_on_aws(*sizes: int) -> Comparison:
    """Return a comparison of deployed functions, without the start's CPU time and memory samples."""
    ways = ("sequential", "threads", "asyncio")
    rows = [
        measured(way, replace(a_run(10.0 + number), init_cpu_seconds=None, init_seconds=0.31), memory_mb=size)
        for number, way in enumerate(ways)
        for size in sizes
    ]
    return replace(
        a_comparison([a_section(*rows)], model=None, memory=sizes),
        environment=Environment(None, "AWS Lambda arm64, eu-central-1", "3.13", {}),
        limits="by Lambda itself",
        untraced="X-Ray cannot be asked: no",
    )


def a_gathering_section(*more: Measured, pages: Pages = EIGHTY_PAGES) -> Section:
    """Return a section in which one of our ways and the reference gather pages."""
    return a_section(
        measured("asyncio", a_run(2.0, 0.1, requests={"web": 81, "postgres": 7})),
        measured(
            "urllib",
            a_run(20.0, 0.3, requests={"web": 80, "postgres": 1_805}),
            label="urllib one by one",
            reference=True,
        ),
        *more,
        workload=pages,
    )


def a_web_comparison(section: Section | None = None, round_trip: float | None = 0.0095) -> Comparison:
    """Return a comparison of gathering pages; `round_trip` of None means a Postgres given by the user."""
    return replace(
        a_comparison([section or a_gathering_section()]),
        network=Web(
            server="the lab's web",
            pages_per_host=6,
            hosts=20,
            latency=0.1875,
            sigma=1.0,
            database="the one here",
            round_trip=round_trip,
        ),
        concurrency=60,
    )
