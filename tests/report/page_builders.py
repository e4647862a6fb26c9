"""A made-up comparison with everything that the page can show."""

from msgspec.structs import replace

from asyncstream.lab.report.comparison import Comparison
from asyncstream.lab.report.measurement import Failure, MemorySample, Run
from asyncstream.lab.report.rows import Section
from asyncstream.lab.report.spans import Span, Trace

from .report_builders import (
    EIGHTY_PAGES,
    a_comparison,
    a_run,
    a_section,
    a_web_comparison,
    measured,
)

SIZES = (128, 512, 1769)
KILLED = Failure(
    "Runtime.OutOfMemory: Runtime exited with error: signal: killed",
    [MemorySample(step * 0.05, step * 13 << 20) for step in range(10)],
)


def a_traced_run(seconds: float, *, cpu: float = 1.0, peak_mib: int = 60, trace: Trace | None = None) -> Run:
    """Return a run with samples of its memory and a trace, by default of two files."""
    samples = [MemorySample(seconds * n / 400, (20 + peak_mib * n // 1000) << 20) for n in range(401)]
    return replace(a_run(seconds, cpu, peak_mib), memory=samples, trace=trace or a_trace(seconds))


def a_trace(seconds: float, *, key: str = "s3://raw/in/{}", files: int = 2) -> Trace:
    """Return a trace of a transfer of that many files, which share the time equally."""
    each = seconds / files
    spans = [a_file(key.format(number), number * each, (number + 1) * each) for number in range(files)]
    transfer = Span(id="f" * 16, name="asyncstream", start=0.0, end=seconds, children=spans)
    root = Span(
        id="e" * 16, name="copier", kind="AWS::Lambda::Function", start=0.0, end=seconds, children=[transfer]
    )
    return Trace(id="1-5759e988-bd862e3fe1be46a994272793", roots=[root])


def a_file(source: str, start: float, end: float) -> Span:
    """Return a file of two parts, each of which was read and written at the same time."""
    half = (end - start) / 2
    parts = [
        Span(
            id="0" * 16,
            name="part",
            start=start + 0.2 * half * number,
            end=start + (1.5 + 0.2 * number) * half,
            annotations={"number": number + 1, "bytes": 50_000_000, "retries": 0},
            children=[
                Span(id="1" * 16, name="GET", start=start + 0.2 * half, end=start + 0.4 * half),
                Span(id="2" * 16, name="body", start=start + 0.4 * half, end=start + 1.4 * half),
                Span(id="3" * 16, name="PUT", start=start + 0.3 * half, end=start + 1.5 * half),
            ],
        )
        for number in range(2)
    ]
    return Span(
        id="4" * 16,
        name="file",
        start=start,
        end=end,
        annotations={"source": source, "bytes": 100_000_000},
        children=parts,
    )


def a_sweep_section() -> Section:
    """Return a way and a reference in three sizes. The reference is out of memory in the smallest."""
    return a_section(
        *(
            measured(
                "asyncio",
                a_traced_run(10.0 * 128 / size + 3, cpu=2.0),
                label="asyncio + multipart",
                memory_mb=size,
            )
            for size in SIZES
        ),
        *(
            measured(
                "boto3",
                KILLED if size == 128 else a_traced_run(21.0 * 512 / size, cpu=5.0, peak_mib=300),
                label="boto3 one by one",
                reference=True,
                memory_mb=size,
            )
            for size in SIZES
        ),
        measured("asyncio", a_traced_run(3.2), label="asyncio + multipart", memory_mb=1769, repeat=True),
    )


def a_sweep() -> Comparison:
    """Return a comparison in three sizes."""
    return a_comparison([a_sweep_section()], memory=SIZES)


def a_plain_comparison() -> Comparison:
    """Return a comparison in one size, with many files."""
    return a_comparison(
        [
            a_section(
                measured("sequential", a_traced_run(20.0, trace=a_trace(20.0, files=40))),
                measured("threads", a_traced_run(11.0)),
                measured("boto3", a_run(22.0), reference=True),
            )
        ],
        rounds=3,
    )


def a_web_page() -> Comparison:
    """Return a comparison of gathering pages, with the trace of one way."""
    section = a_section(
        measured("asyncio", a_traced_run(2.0, trace=a_gathering_trace())),
        measured("urllib", a_run(20.0, requests={"web": 80, "postgres": 805}), reference=True),
        workload=EIGHTY_PAGES,
    )
    return a_web_comparison(section)


def a_gathering_trace() -> Trace:
    """Return a trace of two pages at once, then a batch of their rows."""
    pages = [
        Span(
            id=f"{number}" * 16,
            name="item",
            start=0.1 * number,
            end=1.5,
            annotations={"index": number},
            children=[
                Span(id=f"a{number}" * 8, name="fetch", start=0.1 * number, end=1.4),
                Span(id=f"b{number}" * 8, name="rows", start=1.4, end=1.5),
            ],
        )
        for number in range(2)
    ]
    batch = Span(id="c" * 16, name="batch", start=1.6, end=2.0, annotations={"pages": 2, "rows": 20})
    root = Span(id="d" * 16, name="asyncstream", start=0.0, end=2.0, children=[*pages, batch])
    return Trace(id="1-5759e988-bd862e3fe1be46a994272793", roots=[root])
