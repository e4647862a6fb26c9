"""What ran, on what, and how to read its figures, in sentences. Pure."""

from collections.abc import Iterator, Sequence

from asyncstream.lab.report.comparison import Comparison, Network, Web
from asyncstream.lab.report.measurement import Files, Pages, Workload
from asyncstream.lab.report.rows import Section
from asyncstream.lab.report.sizing import MB_PER_VCPU, SMALLEST_MB, SPARE
from asyncstream.lab.report.verdict import MANY_ROUNDS, TIE

# What the articles that this project answers measured on Lambda. Not rows: their code is nobody's.
ARTICLE_FILES = Files(10, 100_000_000)
OF_FILES = "For comparison, the article on Lambda: 21 s one by one, 13 s threads, 12 s threads + multipart."
ARTICLE_PAGES = 80
OF_PAGES = (
    "For comparison, the article on Lambda: 23 s one by one, 8 s with 60 threads: 65 % less compute, half "
    "the bill."
)


def article(workload: Workload) -> str | None:
    """What an article measured of such a workload; None if none did."""
    if workload == ARTICLE_FILES:
        return OF_FILES
    return OF_PAGES if isinstance(workload, Pages) and workload.pages == ARTICLE_PAGES else None


def heading(comparison: Comparison) -> Iterator[str]:
    """What ran, on what network, and where."""
    names = " and ".join(section.workload.name for section in comparison.sections)
    rounds = "1 round" if comparison.rounds == 1 else f"{comparison.rounds} rounds (medians)"
    changed = (
        "" if comparison.transform is None else f", each file changed on its way by {comparison.transform}"
    )
    work = (
        f"Gathering {names} into a table of Postgres"
        if isinstance(comparison.network, Web)
        else f"Copying {names} from S3 to S3{changed}"
    )
    yield (
        f"{work}: each run is a function's invocation in an environment of "
        f"its own, {comparison.concurrency} at once where it is not one by one, {rounds}."
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
    """How to read the figures."""
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
            f"Noise: one way measured twice came out apart by {', '.join(noises)}; less is called a tie, and "
            f"with fewer than {MANY_ROUNDS} rounds less than {TIE:.0%}."
        )
    else:
        yield f"No way was measured twice: a difference of less than {TIE:.0%} is called a tie."
    yield _verified(comparison)
    if comparison.ended_early:
        yield f"Ended early ({comparison.ended_early}): the rows that are missing were not measured."
    if comparison.untraced:
        yield f"Traces are missing: {comparison.untraced}."
    yield f"Again: {comparison.command}"


def _s3(network: Network) -> str:
    wrong = "" if network.faults is None else f" {100 * network.faults:g} % of requests go wrong."
    return f"S3: {network.server}{', over TLS' if network.tls else ''}. {_model(network.model)}{wrong}"


def _model(model: str | None) -> str:
    if model is None:
        return "No network model: what it gives."
    if model == "off":
        return "Network model off: as fast as this machine is."
    connection, card, first_byte, *jitter = model.split("/")
    told = f"{connection} MB/s a connection, {card} MB/s together each way, {first_byte} ms to the first byte"
    if jitter:
        told += f" (jitter {jitter[0]} %)"
    origin = ", one fit of the article's figures on Lambda" if model == "53/90/25" else ""
    return f"Network model {told}{origin}."


def _web(network: Web, sections: list[Section]) -> Iterator[str]:
    of = [section.workload for section in sections if isinstance(section.workload, Pages)]
    fit = " Together one fit of the article's figures on Lambda." if _is_fit(network, of) else ""
    slow = (
        f"A page begins after {_ms(network.latency)} on average, spread log-normally (sigma "
        f"{network.sigma:g})"
        if network.latency
        else "No model: pages begin as fast as this machine is"
    )
    together = "".join(
        f": {pages.seconds:.1f} s one after the other, {pages.slowest:.2f} s the slowest, "
        f"{pages.rows} rows each"
        for pages in of
    )
    yield f"Web: {network.server}, {network.hosts} hosts. {slow}{together}."
    yield (
        f"asyncstream asks one host for {network.of_one_host} pages at once at the most "
        "(connections_per_host), the reference for as many as it has threads."
    )
    if network.round_trip is None:
        yield f"Postgres: {network.database}. No network model: what it gives."
    elif not network.round_trip:
        yield f"Postgres: {network.database}. Network model off: as fast as this machine is."
    else:
        yield (
            f"Postgres: {network.database}, with {_ms(network.round_trip)} for each round trip, the network "
            f"and the commit included.{fit}"
        )


def _is_fit(network: Web, of: Sequence[Pages]) -> bool:
    asked = [pages.pages for pages in of] == [ARTICLE_PAGES]
    return asked and (network.latency, network.sigma, network.round_trip) == (0.1875, 1.0, 0.0095)


def _sizes(comparison: Comparison) -> Iterator[str]:
    cores = comparison.environment.cores
    if not comparison.memory:
        yield (
            f"needs MB: the smallest Lambda memory with room for the peak and {SPARE - 1:.0%} more, and with "
            f"the CPU that was used (1 vCPU is {MB_PER_VCPU:,} MB; at least {SMALLEST_MB}). It is what "
            "GB-seconds are counted with. Nothing was held back: --memory 128,512 tries sizes."
        )
        return
    whose = "" if cores is None else " Wall times are those of this machine's CPU."
    yield (
        f"Each size has its share of a vCPU (1 is {MB_PER_VCPU:,} MB) and its memory: "
        f"{comparison.limits}.{whose}"
    )
    if cores is not None and max(comparison.memory) > cores * MB_PER_VCPU:
        yield f"Sizes above {cores * MB_PER_VCPU:,} MB had no more than this machine's {cores} CPUs."


def _money(comparison: Comparison) -> str:
    billing = comparison.billing
    prices = billing.prices
    requests = "" if isinstance(comparison.network, Web) else " and requests to S3"
    free = ", requests to the web cost nothing" if isinstance(comparison.network, Web) else ""
    return (
        f"USD of 1,000 such runs: compute on {billing.architecture}{requests}{free}, {prices.region}, "
        f"prices of {prices.date} ({prices.source})."
    )


def _schedule(pages: Pages, network: Web, concurrency: int) -> Iterator[str]:
    """Why these ways come out as they do: latencies overlap, what is serial stays."""
    if not pages.floor:
        return
    yield (
        f"times the floor: seconds as a multiple of {pages.floor:.2f}, the least that the waiting for these "
        f"pages takes with {concurrency} at once. The slowest page alone takes {pages.slowest:.2f} s, with "
        "threads as with asyncio."
    )
    if not network.round_trip:
        return
    rows = pages.pages * pages.rows
    yield (
        "Waiting for pages overlaps, what is serial does not: the reference (urllib, psycopg) inserts row by "
        f"row over one connection, which takes one statement at a time, {rows:,} round trips, "
        f"{rows * network.round_trip:.1f} s, whatever the threads. No spread of the waiting alone would make "
        "8 s of the article's 23. Batched writing is what beats it."
    )


def _faults(comparison: Comparison) -> Iterator[str]:
    """What went wrong on purpose."""
    if comparison.faults is None:
        return
    figures = [row.figures for section in comparison.sections for row in section.rows if row.figures]
    kinds = sorted({kind for each in figures for kind in each.faults or ()})
    named = f" ({', '.join(kinds)})" if kinds else ""
    yield (
        f"faults: requests that were made to go wrong{named}, the same ones in every way that sends them. "
        "left open: uploads that were neither completed nor aborted, and are paid for until they are."
    )


def _starts(comparison: Comparison) -> Iterator[str]:
    """What it took to start an environment: CPU time, or what Lambda tells."""
    of = {
        row.way.label: row.figures
        for section in comparison.sections
        for row in section.rows
        if row.figures is not None
    }
    cpu = [f"{label} {f.init_cpu_seconds:.2f}" for label, f in of.items() if f.init_cpu_seconds is not None]
    wall = [f"{label} {f.init_seconds:.2f}" for label, f in of.items() if f.init_seconds is not None]
    if cpu or wall:
        what = "CPU seconds" if cpu else "seconds"
        yield (
            f"Not in the figures: {what} of the environment's start, imports included: "
            f"{', '.join(cpu or wall)}."
        )


def _noises(section: Section) -> Iterator[str]:
    """Of each size, once: how far apart one way measured twice came out."""
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
        return (
            f"Verified: every row of {comparison.verified} runs ({each} each), against what the pages hold."
        )
    against = "" if comparison.transform is None else f", against {comparison.transform} run by itself"
    return f"Verified: every byte of {comparison.verified} runs (size and CRC64NVME of each file{against})."


def _ms(seconds: float) -> str:
    return f"{seconds * 1000:g} ms"
