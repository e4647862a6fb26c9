"""Which way won, in a sentence; pure, called by `table.py`."""

from collections.abc import Callable, Sequence

from asyncstream.report.rows import Figures, Row, Section

# Closer than this is a tie: two runs of the same code differ by as much.
TIE = 0.03

Measured = tuple[Row, Figures]


def verdict(section: Section) -> str:
    """Fastest and cheapest way of a workload, ties named; empty if nothing was measured."""
    measured = [(row, row.figures) for row in section.rows if row.figures is not None]
    if not measured:
        return ""
    fast = min(measured, key=lambda pair: pair[1].seconds)
    ratio = fast[1].time_ratio
    compared = "" if ratio in (None, 1.0) else f", {ratio:.2f} x sequential"
    fastest = f"{fast[1].seconds:.1f} s{compared}"
    cheap = min(measured, key=lambda pair: pair[1].usd)
    cheapest = f"{cheap[1].usd * 1000:.3f} USD per 1,000 runs"
    return (
        f"Fastest: {_named(fast[0], fastest, _ties(measured, fast, lambda figures: figures.seconds))} "
        f"Cheapest: {_named(cheap[0], cheapest, _ties(measured, cheap, lambda figures: figures.usd))}"
    )


def _ties(
    measured: Sequence[Measured], best: Measured, value: Callable[[Figures], float]
) -> list[str] | None:
    """Ways that are as good as the best; None if all of several are."""
    limit = value(best[1]) * (1 + TIE)
    ties = [row.way.label for row, figures in measured if row is not best[0] and value(figures) <= limit]
    return None if ties and len(ties) == len(measured) - 1 else ties


def _named(best: Row, figure: str, ties: Sequence[str] | None) -> str:
    if ties is None:
        return f"no difference, all are within {TIE:.0%} of {figure}."
    return f"{best.way.label} ({figure}{f'; within {TIE:.0%}: ' + ', '.join(ties) if ties else ''})."
