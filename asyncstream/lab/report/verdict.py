"""Which way won, and in which size of function. Pure."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

from msgspec import Struct

from asyncstream.lab.report.prices import of_thousand_runs
from asyncstream.lab.report.rows import Figures, Row, Section, baseline

# Two runs of the same code differ by as much, though a pair of them may come out alike by chance.
TIE = 0.03
# With the medians of so many rounds of a way measured twice: no clock of a shared machine is better.
MANY_ROUNDS, SMALLEST_TIE = 3, 0.01
MOST_NAMED = 3

Measured = tuple[Row, Figures]


class Choice(Struct, frozen=True):
    """The best row in one respect, and those that cannot be told from it.

    `ties` is None if that is all of several others.
    """

    row: Row
    figures: Figures
    ties: list[Row] | None


class AgainstReference(Struct, frozen=True):
    """Our cheapest row against the cheapest of the code people write: ratios, below 1 is better."""

    reference: Row
    usd: float
    compute: float
    seconds: float


class Verdict(Struct, frozen=True):
    """What a section comes to.

    Attributes:
        fastest, cheapest: of all rows.
        balanced: of our rows of a sweep, the least of time and cost with equal weight, each as a fraction of
            the largest one, as aws-lambda-power-tuning's strategy "balanced" weighs them.
        against: how our cheapest row compares, if a reference was measured.
        baseline: what people call the way that ratios are to.
    """

    fastest: Choice
    cheapest: Choice
    balanced: Choice | None
    against: AgainstReference | None
    baseline: str

    def sentences(self) -> list[str]:
        """It in words."""
        fast, cheap = self.fastest.figures, self.cheapest.figures
        ratio = fast.time_ratio
        compared = "" if ratio in (None, 1.0) else f", {ratio:.2f} x {self.baseline}"
        said = [
            f"Fastest: {self._named(self.fastest, f'{fast.seconds:.1f} s{compared}')}",
            f"Cheapest: {self._named(self.cheapest, _dollars(cheap))}",
        ]
        if self.balanced is not None:
            both = f"{self.balanced.figures.seconds:.1f} s, {_dollars(self.balanced.figures)}"
            said.append(f"Best balance: {self._named(self.balanced, both)}")
        if self.against is not None:
            # Where requests cost nothing, compute is all.
            alone = f", {self.against.compute:.2f} x the compute alone" if cheap.requests_usd else ""
            said.append(
                f"Our cheapest against the reference's ({name_of(self.against.reference)}): "
                f"{self.against.usd:.2f} x the cost{alone}, {self.against.seconds:.2f} x the time."
            )
        return said

    def _named(self, choice: Choice, figure: str) -> str:
        if choice.ties is None:
            return f"no difference, all are as good as {figure}."
        names = [name_of(row) for row in choice.ties[:MOST_NAMED]]
        if len(choice.ties) > MOST_NAMED:
            names.append(f"{len(choice.ties) - MOST_NAMED} more")
        as_good = f"; as good: {', '.join(names)}" if names else ""
        return f"{name_of(choice.row)} ({figure}{as_good})."


def name_of(row: Row) -> str:
    """A row as sentences name it."""
    return row.way.label if row.memory_mb is None else f"{row.way.label} at {row.memory_mb:,} MB"


def verdict(section: Section) -> Verdict | None:
    """What a section comes to; None if nothing was measured."""
    measured = [(row, row.figures) for row in section.rows if row.figures is not None]
    if not measured:
        return None
    ours = [pair for pair in measured if not pair[0].way.reference]
    swept = any(row.memory_mb is not None for row in section.rows)
    return Verdict(
        fastest=_best(measured, _time),
        cheapest=_best(measured, _cost),
        balanced=_best(ours, _balance(ours)) if swept and ours else None,
        against=_against(ours, [pair for pair in measured if pair[0].way.reference]),
        baseline=next(
            (row.way.label for row in section.rows if row.way.name == baseline(section.workload)), ""
        ),
    )


class _Value(NamedTuple):
    """What a row is judged by, and how much of it varies from run to run: a count of requests does not."""

    whole: float
    varying: float


def _time(figures: Figures) -> _Value:
    return _Value(figures.seconds, figures.seconds)


def _cost(figures: Figures) -> _Value:
    return _Value(figures.usd, figures.compute_usd)


def _balance(measured: Sequence[Measured]) -> Callable[[Figures], _Value]:
    slowest = max(figures.seconds for _, figures in measured)
    dearest = max(figures.usd for _, figures in measured)

    def weighed(figures: Figures) -> _Value:
        time = 0.5 * figures.seconds / slowest
        return _Value(time + 0.5 * figures.usd / dearest, time + 0.5 * figures.compute_usd / dearest)

    return weighed


def _best(measured: Sequence[Measured], value: Callable[[Figures], _Value]) -> Choice:
    row, figures = min(measured, key=lambda pair: value(pair[1]).whole)
    best = value(figures)
    ties = [
        other
        for other, found in measured
        if other is not row
        and value(found).whole <= best.whole + best.varying * _tie((row, figures), (other, found))
    ]
    return Choice(row, figures, None if ties and len(ties) == len(measured) - 1 else ties)


def _tie(*measured: Measured) -> float:
    """The difference, as a fraction, below which rows count as equal: the noisier size decides."""
    noises = [row.noise for row, _ in measured if row.noise is not None]
    known = noises and all(figures.rounds >= MANY_ROUNDS for _, figures in measured)
    return max([SMALLEST_TIE if known else TIE, *noises])


def _against(ours: Sequence[Measured], theirs: Sequence[Measured]) -> AgainstReference | None:
    if not ours or not theirs:
        return None
    _, best = min(ours, key=lambda pair: pair[1].usd)
    reference, other = min(theirs, key=lambda pair: pair[1].usd)
    return AgainstReference(
        reference,
        best.usd / other.usd,
        best.compute_usd / other.compute_usd,
        best.seconds / other.seconds,
    )


def _dollars(figures: Figures) -> str:
    return f"{of_thousand_runs(figures.usd)} USD per 1,000 runs"
