import pytest

from asyncstream.lab.report.measurement import Failure, MemorySample, Pages
from asyncstream.lab.report.rows import Figures, Row, Section

from .report_builders import a_gathering_section, a_run, a_section, measured


def figures(section: Section, position: int = 0) -> Figures:
    found = section.rows[position].figures
    assert found is not None
    return found


def test_one_run_is_its_own_median() -> None:
    row = figures(a_section(measured("sequential", a_run(20.0, 1.0, 60))))
    assert (row.seconds, row.fastest, row.slowest, row.rounds) == (20.0, 20.0, 20.0, 1)
    assert row.rate == 50.0
    assert row.request_count == 20


def test_several_runs_give_medians_and_the_highest_peak() -> None:
    row = figures(a_section(measured("threads", a_run(10, 1, 60), a_run(14, 3, 80), a_run(11, 2, 70))))
    assert (row.seconds, row.fastest, row.slowest) == (11, 10, 14)
    assert row.cpu_seconds == 2
    assert row.peak_bytes == 80 * 2**20


def test_faults_are_those_of_the_run_whose_requests_are_shown() -> None:
    """Uploads left open are the maximum of all runs."""
    few = a_run(requests={"GetObject": 10}, faults={"reset": 1}, left_open=2)
    some = a_run(requests={"GetObject": 12}, faults={"reset": 2, "stall": 1})
    many = a_run(requests={"GetObject": 14}, faults={"reset": 5})
    row = figures(a_section(measured("threads", many, few, some)))
    assert (row.request_count, row.faults, row.fault_count, row.left_open) == (12, some.faults, 3, 2)


def test_what_is_billed_is_what_was_needed() -> None:
    row = figures(a_section(measured("threads", a_run(10.0, 5.0, 60))))
    assert row.needed_mb == row.billed_mb == 885
    assert row.gb_seconds == pytest.approx(885 / 1024 * 10)
    assert row.compute_usd == pytest.approx(row.gb_seconds * 0.0000133334 + 0.2e-6)
    assert row.requests_usd == pytest.approx(10 * 0.005e-3 + 10 * 0.0004e-3)
    assert row.usd == pytest.approx(row.compute_usd + row.requests_usd)


def test_a_sweep_is_billed_by_its_size_and_not_by_its_need() -> None:
    row = figures(a_section(measured("threads", a_run(10.0, 5.0, 60), memory_mb=512)))
    assert (row.needed_mb, row.billed_mb) == (885, 512)
    assert row.gb_seconds == 5.0


def test_ratios_are_to_the_sequential_way() -> None:
    section = a_section(measured("threads", a_run(10.0)), measured("sequential", a_run(20.0)))
    assert figures(section, 0).time_ratio == 0.5
    assert figures(section, 1).time_ratio == figures(section, 1).cost_ratio == 1.0
    assert figures(section, 0).cost_ratio == pytest.approx(figures(section, 0).usd / figures(section, 1).usd)


@pytest.mark.parametrize("others", [[], [measured("sequential", Failure("Boom: no"))]])
def test_without_the_sequential_way_there_are_no_ratios(others: list[object]) -> None:
    section = a_section(measured("threads", a_run()), *others)  # type: ignore[arg-type]
    assert figures(section).time_ratio is None
    assert figures(section).cost_ratio is None


def test_a_way_that_always_failed_has_no_figures() -> None:
    section = a_section(measured("threads", Failure("Boom: no"), Failure("Boom: no")))
    assert section.rows == [Row(section.rows[0].way, None, None, ["Boom: no"])]
    assert section.rows[0].short == "failed"


def test_a_function_ended_by_lambda_says_so_and_shows_memory() -> None:
    samples = [MemorySample(0.0, 10), MemorySample(0.05, 20)]
    failure = Failure("Runtime.OutOfMemory: Runtime exited with error: signal: killed", samples)
    row = a_section(measured("boto3", failure, memory_mb=128)).rows[0]
    assert (row.short, row.memory) == ("out of memory", samples)


def test_failed_runs_are_reported_and_not_in_the_figures() -> None:
    section = a_section(measured("threads", a_run(10.0), Failure("Boom: no"), a_run(12.0)))
    assert figures(section).seconds == 11.0
    assert figures(section).rounds == 2
    assert section.rows[0].errors == ["Boom: no"]


def test_ways_not_yet_measured_have_no_row() -> None:
    section = a_section(measured("sequential", a_run()), measured("threads"))
    assert [row.way.name for row in section.rows] == ["sequential"]


def test_ratios_are_to_the_sequential_way_of_the_same_size() -> None:
    section = a_section(
        measured("sequential", a_run(40.0), memory_mb=128),
        measured("sequential", a_run(20.0), memory_mb=512),
        measured("threads", a_run(30.0), memory_mb=128),
        measured("threads", a_run(10.0), memory_mb=512),
    )
    assert [figures(section, position).time_ratio for position in (2, 3)] == [0.75, 0.5]


def test_the_run_that_is_shown_is_the_one_of_the_median_duration() -> None:
    section = a_section(measured("threads", a_run(10.0), a_run(30.0), a_run(20.0)))
    assert section.rows[0].run is not None
    assert section.rows[0].run.seconds == 20.0


def test_noise_is_the_difference_between_medians_of_repeats() -> None:
    """Each size has its own noise, and a repeat has no row."""
    section = a_section(
        measured("threads", a_run(10.0), a_run(11.0), a_run(12.0), memory_mb=128),
        measured("threads", a_run(10.0), memory_mb=128, repeat=True),
        measured("threads", a_run(5.0), memory_mb=512),
        measured("threads", a_run(5.2), memory_mb=512, repeat=True),
        measured("asyncio", a_run(6.0), memory_mb=512),
    )
    assert [(row.memory_mb, round(row.noise or 0.0, 6)) for row in section.rows] == [
        (128, 0.1),
        (512, 0.04),
        (512, 0.04),
    ]


def test_without_a_second_measurement_the_noise_is_not_known() -> None:
    assert a_section(measured("threads", a_run())).rows[0].noise is None
    assert a_section(measured("threads", a_run()), measured("threads", repeat=True)).rows[0].noise is None


def test_pages_have_their_own_rate_and_floor() -> None:
    """Requests for pages cost nothing."""
    ours = figures(a_gathering_section())
    assert (ours.rate, ours.floor_ratio) == (40.0, 1.25)
    assert ours.requests_usd == 0.0
    assert ours.usd == ours.compute_usd > 0
    assert figures(a_section(measured("sequential", a_run()))).floor_ratio is None


def test_ratios_of_pages_are_to_the_reference_one_by_one() -> None:
    section = a_gathering_section(measured("sequential", a_run(15.0)))
    assert [figures(section, position).time_ratio for position in range(3)] == [0.1, 1.0, 0.75]


def test_pages_that_take_no_time_have_no_floor() -> None:
    none = Pages(pages=3, rows=10, seconds=0.0, slowest=0.0, floor=0.0)
    assert figures(a_gathering_section(pages=none)).floor_ratio is None
