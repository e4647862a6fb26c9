import pytest

from asyncstream.lab.report.measurement import Failure
from asyncstream.lab.report.rows import Section
from asyncstream.lab.report.verdict import Verdict, row_name, verdict

from .report_builders import a_gathering_section, a_run, a_section, measured


def found(section: Section) -> Verdict:
    verdict_ = verdict(section)
    assert verdict_ is not None
    return verdict_


def said(section: Section) -> str:
    return " ".join(found(section).sentences())


def test_the_fastest_and_the_cheapest_way_are_named() -> None:
    section = a_section(measured("sequential", a_run(20.0, 0.5)), measured("threads", a_run(10.0, 5.0)))
    assert said(section).startswith("Fastest: threads (10.0 s, 0.50 x sequential). Cheapest: sequential (")


def test_a_difference_below_the_assumed_noise_is_a_tie() -> None:
    ways = [measured("threads", a_run(10.0)), measured("asyncio", a_run(10.2)), measured("slow", a_run(20))]
    assert "threads (10.0 s; tied with asyncio)" in said(a_section(*ways))


def test_a_larger_difference_is_none() -> None:
    sentences = said(a_section(measured("threads", a_run(10.0)), measured("asyncio", a_run(10.5))))
    assert "Fastest: threads (10.0 s)." in sentences


@pytest.mark.parametrize(
    ("rounds", "other", "again", "expected_message"),
    [
        (3, 10.5, 11.0, "tied with asyncio"),
        (3, 10.2, 10.1, "threads (10.0 s)."),
        (1, 10.2, 10.1, "tied with asyncio"),  # two medians may be alike by chance
        (1, 10.5, 10.1, "threads (10.0 s)."),
    ],
)
def test_measured_noise_takes_the_place_of_the_assumed(
    rounds: int, other: float, again: float, expected_message: str
) -> None:
    times = {"threads": 10.0, "asyncio": other, "slow": 20.0}
    ways = [measured(name, *[a_run(seconds)] * rounds) for name, seconds in times.items()]
    assert expected_message in said(
        a_section(*ways, measured("threads", *[a_run(again)] * rounds, repeat=True))
    )


def test_the_noise_of_a_size_blurs_that_size_only() -> None:
    section = a_section(
        measured("asyncio", a_run(13.0), memory_mb=128),
        measured("threads", a_run(13.5), memory_mb=128),
        measured("threads", a_run(20.0), memory_mb=128, repeat=True),
        measured("asyncio", a_run(10.0), memory_mb=512),
        measured("threads", a_run(10.5), memory_mb=512),
        measured("threads", a_run(10.5), memory_mb=512, repeat=True),
    )
    assert [(row.way.name, row.memory_mb) for row in found(section).fastest.ties or []] == [
        ("asyncio", 128),
        ("threads", 128),
    ]


def test_where_all_are_as_good_none_is_named() -> None:
    rows = [measured(name, a_run()) for name in ("sequential", "threads")]
    assert "Fastest: no difference, all have about 10.0 s." in said(a_section(*rows))


def test_noise_blurs_the_time_and_not_the_count_of_requests() -> None:
    # The total is 5 % higher, but most of it are requests, which are exact: this is not a tie.
    few, many = {"PutObject": 1000}, {"PutObject": 1050}
    section = a_section(
        measured("threads", a_run(10.0, requests=few)),
        measured("asyncio", a_run(10.0, requests=many)),
        measured("threads", a_run(12.0, requests=few), repeat=True),
    )
    assert found(section).cheapest.ties == []


def test_many_ties_are_counted_and_not_all_named() -> None:
    ways = [measured(f"way {number}", a_run(10.0)) for number in range(6)]
    assert "tied with way 1, way 2, way 3, 2 more)" in said(a_section(*ways, measured("slow", a_run(50.0))))


def test_reference_code_may_win() -> None:
    sentences = said(
        a_section(measured("threads", a_run(10.0)), measured("boto3", a_run(5.0), reference=True))
    )
    assert "Fastest: boto3" in sentences


def test_nothing_measured_has_no_winner() -> None:
    assert verdict(a_section(measured("threads", Failure("Boom: no")))) is None


def test_the_best_balance_of_a_sweep_is_neither_extreme() -> None:
    section = a_section(
        measured("threads", a_run(100.0), memory_mb=128),
        measured("threads", a_run(20.0), memory_mb=512),
        measured("threads", a_run(18.0), memory_mb=10_240),
        measured("boto3", a_run(1.0, requests={}), reference=True, memory_mb=128),
    )
    balanced = found(section).balanced
    assert balanced is not None
    assert row_name(balanced.row) == "threads at 512 MB"


def test_without_a_sweep_there_is_no_balance_to_find() -> None:
    assert found(a_section(measured("threads", a_run()))).balanced is None


def test_our_cheapest_is_compared_with_the_references_cheapest() -> None:
    section = a_section(
        measured("threads", a_run(10.0, requests={}), memory_mb=128),
        measured("threads", a_run(10.0, requests={}), memory_mb=1024),
        measured("boto3", a_run(20.0, requests={}), reference=True, memory_mb=256),
        measured("boto3", a_run(20.0, requests={}), reference=True, memory_mb=1024),
    )
    against = found(section).against
    assert against is not None
    assert row_name(against.reference) == "boto3 at 256 MB"
    assert (against.seconds, against.compute) == (0.5, pytest.approx(0.25, rel=0.1))
    assert "cheapest reference (boto3 at 256 MB)." in said(section)


def test_pages_are_compared_with_the_reference_one_by_one() -> None:
    """The cost of gathering pages is that of compute alone."""
    sentences = said(a_gathering_section())
    assert sentences.startswith("Fastest: asyncio (2.0 s, 0.10 x urllib one by one).")
    assert (
        "asyncstream's cheapest has 0.11 x the cost and 0.10 x the time of the cheapest reference (urllib"
        in sentences
    )
