"""Sentences about a comparison: the work, the environment, and how to read the figures. Pure."""

from collections.abc import Iterator, Sequence

from asyncstream.lab.report.comparison import Comparison, Network, Web
from asyncstream.lab.report.measurement import Files, Pages, Workload
from asyncstream.lab.report.rows import Section
from asyncstream.lab.report.sizing import MB_PER_VCPU, SMALLEST_MB, SPARE
from asyncstream.lab.report.verdict import MANY_ROUNDS, TIE

# The measurements on Lambda of the articles that this project answers. They are not rows, as the code is not
# public.
ARTICLE_FILES = Files(10, 100_000_000)
ARTICLE_FILE_TIMES = (
    "The article's times on Lambda: 21 s one by one, 13 s with threads, 12 s with threads + multipart."
)
ARTICLE_PAGES = 80
ARTICLE_PAGE_TIMES = (
    "The article's times on Lambda: 23 s one by one, 8 s with 60 threads (65 % less compute, half the bill)."
)


def article(workload: Workload) -> str | None:
    """Return an article's measurements of this workload, or None."""
    if workload == ARTICLE_FILES:
        return ARTICLE_FILE_TIMES
    return ARTICLE_PAGE_TIMES if isinstance(workload, Pages) and workload.pages == ARTICLE_PAGES else None


def heading(comparison: Comparison) -> Iterator[str]:
    """Yield sentences about the work, the network and the machine."""
    names = " and ".join(section.workload.name for section in comparison.sections)
    rounds = "1 round" if comparison.rounds == 1 else f"{comparison.rounds} rounds (medians)"
    changed = "" if comparison.transform is None else f", each file transformed by {comparison.transform}"
    work = (
        f"Gathering {names} into a Postgres table"
        if isinstance(comparison.network, Web)
        else f"Copying {names} from S3 to S3{changed}"
    )
    yield (
        f"{work}. Each run is a function's invocation in its own environment, "
        f"{comparison.concurrency} at a time unless one by one, {rounds}."
    )
    if isinstance(comparison.network, Web):
        yield from _web(comparison.network, comparison.sections)
    else:
        yield _s3(comparison.network)
    environment = comparison.environment
    machine = [f"{environment.cores} cores"] if environment.cores is not None else []
    machine += [environment.system, f"Python {environment.python}"]
    machine += [f"{name} {version}" for name, version in environment.packages.items()]
    yield f"Machine: {', '.join(machine)}."


def notes(comparison: Comparison) -> Iterator[str]:
    """Yield sentences about how to read the figures."""
    yield from _sizes(comparison)
    yield _money(comparison)
    for section in comparison.sections:
        if isinstance(section.workload, Pages) and isinstance(comparison.network, Web):
            yield from _schedule(section.workload, comparison.network, comparison.concurrency)
    yield from _faults(comparison)
    yield from _starts(comparison)
    noises = [noise for section in comparison.sections for noise in _noises(section)]
    if noises:
        yield (
            f"Noise: one way measured twice differed by {', '.join(noises)}. Smaller differences are ties, "
            f"and with fewer than {MANY_ROUNDS} rounds also differences below {TIE:.0%}."
        )
    else:
        yield f"No way was measured twice, so differences below {TIE:.0%} are ties."
    yield _verified(comparison)
    if comparison.ended_early:
        yield f"Ended early ({comparison.ended_early}): the missing rows were not measured."
    if comparison.untraced:
        yield f"Traces are missing: {comparison.untraced}."
    yield f"To repeat: {comparison.command}"


def _s3(network: Network) -> str:
    wrong = "" if network.faults is None else f" {100 * network.faults:g} % of requests fail."
    return f"S3: {network.server}{', over TLS' if network.tls else ''}. {_model(network.model)}{wrong}"


def _model(model: str | None) -> str:
    if model is None:
        return "It answers at its own speed, without a network model."
    if model == "off":
        return "The network model is off: S3 is as fast as this machine."
    connection, card, first_byte, *jitter = model.split("/")
    rates = (
        f"{connection} MB/s per connection, {card} MB/s in total in each direction, {first_byte} ms to the "
        "first byte"
    )
    if jitter:
        rates += f" (jitter {jitter[0]} %)"
    origin = ", fitted to the article's figures on Lambda" if model == "53/90/25" else ""
    return f"Network model {rates}{origin}."


def _web(network: Web, sections: list[Section]) -> Iterator[str]:
    workloads = [section.workload for section in sections if isinstance(section.workload, Pages)]
    fit = " Both models are fitted to the article's figures on Lambda." if _is_fit(network, workloads) else ""
    slow = (
        f"A page starts after {_ms(network.latency)} on average, spread log-normally (sigma "
        f"{network.sigma:g})"
        if network.latency
        else "The model is off, so pages are as fast as this machine"
    )
    yield f"Web: {network.server}, {network.hosts} hosts. {slow}."
    for pages in workloads:
        yield (
            f"The waits for {pages.pages} pages add up to {pages.seconds:.1f} s; the longest takes "
            f"{pages.slowest:.2f} s. Each page has {pages.rows} rows."
        )
    yield (
        f"asyncstream requests at most {network.pages_per_host} pages of one host at a time "
        "(connections_per_host). The reference requests as many as it has threads."
    )
    if network.round_trip is None:
        yield f"Postgres: {network.database}. It answers at its own speed, without a network model."
    elif not network.round_trip:
        yield f"Postgres: {network.database}. The network model is off: Postgres is as fast as this machine."
    else:
        yield (
            f"Postgres: {network.database}, with {_ms(network.round_trip)} for each round trip, including "
            f"network and commit.{fit}"
        )


def _is_fit(network: Web, workloads: Sequence[Pages]) -> bool:
    is_article = [pages.pages for pages in workloads] == [ARTICLE_PAGES]
    return is_article and (network.latency, network.sigma, network.round_trip) == (0.1875, 1.0, 0.0095)


def _sizes(comparison: Comparison) -> Iterator[str]:
    cores = comparison.environment.cores
    if not comparison.memory:
        yield (
            f"needs MB: the smallest Lambda memory that holds the peak and {SPARE - 1:.0%} more, and has "
            f"the CPU that was used (1 vCPU is {MB_PER_VCPU:,} MB; at least {SMALLEST_MB}). GB-seconds are "
            "computed with it. Memory and CPU were not limited: --memory 128,512 tries sizes."
        )
        return
    whose = "" if cores is None else " Times are those of this machine's CPU."
    yield (
        f"Each size has its share of a vCPU (1 is {MB_PER_VCPU:,} MB) and its memory: "
        f"{comparison.limits}.{whose}"
    )
    if cores is not None and max(comparison.memory) > cores * MB_PER_VCPU:
        yield f"Sizes above {cores * MB_PER_VCPU:,} MB had only this machine's {cores} CPUs."


def _money(comparison: Comparison) -> str:
    billing = comparison.billing
    prices = billing.prices
    requests = "" if isinstance(comparison.network, Web) else " and requests to S3"
    free = " (requests to the web cost nothing)" if isinstance(comparison.network, Web) else ""
    return (
        f"USD per 1,000 runs: compute on {billing.architecture}{requests}{free}, {prices.region}, prices of "
        f"{prices.date} ({prices.source})."
    )


def _schedule(pages: Pages, network: Web, concurrency: int) -> Iterator[str]:
    """Explain the times: waits overlap, serial inserts do not."""
    if not pages.floor:
        return
    yield (
        f"times the floor: seconds divided by {pages.floor:.2f} s, the minimum wait for these pages with "
        f"{concurrency} at a time. The slowest page alone takes {pages.slowest:.2f} s, with threads and with "
        "asyncio."
    )
    if not network.round_trip:
        return
    rows = pages.pages * pages.rows
    yield (
        "Waits for pages overlap, but inserts do not. The reference (urllib, psycopg) inserts row by row "
        f"over one connection, which runs one statement at a time. Its {rows:,} round trips take "
        f"{rows * network.round_trip:.1f} s with any number of threads. No distribution of the waits alone "
        "would reduce the article's 23 s to 8 s. Batches avoid these round trips."
    )


def _faults(comparison: Comparison) -> Iterator[str]:
    """Explain the columns of injected faults."""
    if comparison.faults is None:
        return
    figures = [row.figures for section in comparison.sections for row in section.rows if row.figures]
    kinds = sorted({kind for each in figures for kind in each.faults or ()})
    named = f" ({', '.join(kinds)})" if kinds else ""
    yield (
        f"faults: requests that failed on purpose{named}, the same ones for every way that sends them. left "
        "open: uploads that were neither completed nor aborted. They cost money until they are."
    )


def _starts(comparison: Comparison) -> Iterator[str]:
    """Report the start of environments: CPU time, or Lambda's init duration."""
    figures = {
        row.way.label: row.figures
        for section in comparison.sections
        for row in section.rows
        if row.figures is not None
    }
    cpu = [
        f"{label} {f.init_cpu_seconds:.2f}" for label, f in figures.items() if f.init_cpu_seconds is not None
    ]
    wall = [f"{label} {f.init_seconds:.2f}" for label, f in figures.items() if f.init_seconds is not None]
    if cpu or wall:
        what = "CPU seconds" if cpu else "seconds"
        yield (
            f"Not in the figures: {what} for the environment's start with its imports: "
            f"{', '.join(cpu or wall)}."
        )


def _noises(section: Section) -> Iterator[str]:
    """Yield the noise of each size once."""
    for memory_mb, noise in {row.memory_mb: row.noise for row in section.rows}.items():
        if noise is not None:
            size = f" at {memory_mb:,} MB" if memory_mb is not None else ""
            yield f"{noise:.1%} ({section.workload.name}{size})"


def _verified(comparison: Comparison) -> str:
    if isinstance(comparison.network, Web):
        each = " and ".join(
            f"{section.workload.pages * section.workload.rows:,}"
            for section in comparison.sections
            if isinstance(section.workload, Pages)
        )
        return f"Verified: every row of {comparison.verified} runs ({each} each), against the pages' content."
    against = "" if comparison.transform is None else f", against {comparison.transform} run separately"
    return f"Verified: every byte of {comparison.verified} runs (size and CRC64NVME of each file{against})."


def _ms(seconds: float) -> str:
    return f"{seconds * 1000:g} ms"
