from report_builders import a_run, a_section, measured

from asyncstream.report.measurement import Failure
from asyncstream.report.verdict import verdict


def test_the_fastest_and_the_cheapest_way_are_named() -> None:
    told = verdict(
        a_section(
            measured("sequential", a_run(20.0, 0.5)),
            measured("threads", a_run(10.0, 5.0)),
        )
    )
    assert told.startswith("Fastest: threads (10.0 s, 0.50 x sequential). Cheapest: sequential (")


def test_a_difference_within_the_noise_is_a_tie() -> None:
    told = verdict(
        a_section(
            measured("threads", a_run(10.0)), measured("asyncio", a_run(10.2)), measured("slow", a_run(20))
        )
    )
    assert "threads (10.0 s; within 3%: asyncio)" in told


def test_a_larger_difference_is_none() -> None:
    told = verdict(a_section(measured("threads", a_run(10.0)), measured("asyncio", a_run(10.5))))
    assert "Fastest: threads (10.0 s)." in told


def test_where_all_are_as_good_none_is_named() -> None:
    requests = {"PutObject": 500}
    rows = [measured(name, a_run(requests=requests)) for name in ("sequential", "threads")]
    assert "Cheapest: no difference, all are within 3% of 2.5" in verdict(a_section(*rows))


def test_reference_code_may_win() -> None:
    told = verdict(a_section(measured("threads", a_run(10.0)), measured("boto3", a_run(5.0), reference=True)))
    assert "Fastest: boto3" in told


def test_nothing_measured_has_no_winner() -> None:
    assert not verdict(a_section(measured("threads", Failure("Boom: no"))))
