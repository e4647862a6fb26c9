"""Which variant won, and at which function size. Pure."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

from msgspec import Struct

from asyncstream.lab.report.rows import Figures, Row, Section, baseline
from asyncstream.prices import per_thousand_runs

# Two runs of the same code differ by this fraction, although a pair may be equal by chance.
TIE = 0.03
# From this number of rounds, the measured noise is used, down to 1 %, the precision of a shared machine's
# clock.
MANY_ROUNDS, SMALLEST_TIE = 3, 0.01
MAX_NAMED = 3

Measured = tuple[Row, Figures]


class Choice(Struct, frozen=True):
    """The best row by one measure, and the rows that tie with it.

    `ties` is None if all of several other rows tie.
    """

    row: Row
    figures: Figures
    ties: list[Row] | None


class AgainstReference(Struct, frozen=True):
    """asyncstream's cheapest row compared with the cheapest reference: ratios, below 1 is better."""

    reference: Row
    usd: float
    compute: float
    seconds: float


class Verdict(Struct, frozen=True):
    """The verdict on a section.

    Attributes:
        fastest, cheapest: the best of all rows by time, and by cost.
        balanced: asyncstream's row of a sweep with the smallest sum of time and cost, each as a fraction of
            its largest value, with equal weight, as in aws-lambda-power-tuning's strategy "balanced".
        against: asyncstream's cheapest row compared with the reference, if a reference was measured.
        baseline: the label of the baseline of ratios.
    """

    fastest: Choice
    cheapest: Choice
    balanced: Choice | None
    against: AgainstReference | None
    baseline: str

    def sentences(self) -> list[str]:
        """Return the verdict in sentences."""
        fast, cheap = self.fastest.figures, self.cheapest.figures
        ratio = fast.time_ratio
        compared = "" if ratio in (None, 1.0) else f", {ratio:.2f} x {self.baseline}"
        sentences = [
            f"Fastest: {self._named(self.fastest, f'{fast.seconds:.1f} s{compared}')}",
            f"Cheapest: {self._named(self.cheapest, _dollars(cheap))}",
        ]
        if self.balanced is not None:
            both = f"{self.balanced.figures.seconds:.1f} s, {_dollars(self.balanced.figures)}"
            sentences.append(f"Best balance: {self._named(self.balanced, both)}")
        if self.against is not None:
            # If requests cost nothing, compute is the whole cost.
            alone = f" ({self.against.compute:.2f} x the compute)" if cheap.requests_usd else ""
            sentences.append(
                f"asyncstream's cheapest has {self.against.usd:.2f} x the cost{alone} and "
                f"{self.against.seconds:.2f} x the time of the cheapest reference "
                f"({row_name(self.against.reference)})."
            )
        return sentences

    def _named(self, choice: Choice, figure: str) -> str:
        if choice.ties is None:
            return f"no difference, all have about {figure}."
        names = [row_name(row) for row in choice.ties[:MAX_NAMED]]
        if len(choice.ties) > MAX_NAMED:
            names.append(f"{len(choice.ties) - MAX_NAMED} more")
        as_good = f"; tied with {', '.join(names)}" if names else ""
        return f"{row_name(choice.row)} ({figure}{as_good})."


def row_name(row: Row) -> str:
    """Return a row's name for sentences."""
    return row.way.label if row.memory_mb is None else f"{row.way.label} at {row.memory_mb:,} MB"


def verdict(section: Section) -> Verdict | None:
    """Return the verdict on a section, or None if it has no figures."""
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
    """A row's value, and the part of it that varies between runs. The cost of requests does not vary."""

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
    """Return the difference, as a fraction, below which rows tie. The noisier size decides."""
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
    return f"{per_thousand_runs(figures.usd)} USD per 1,000 runs"
