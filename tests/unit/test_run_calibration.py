"""Speeds from documents that the lab's own report writes."""

import json
from typing import Any

import pytest

from asyncstream.errors import InputError
from asyncstream.lab.report.document import document
from asyncstream.lab.report.measurement import Failure, Files
from asyncstream.lab.report.rows import Section
from asyncstream.runs.calibration import calibrate
from asyncstream.runs.costs import Speeds
from asyncstream.units import MB
from tests.report.report_builders import a_comparison, a_run, a_section, a_web_comparison, measured

DEFAULT = Speeds()
LARGE, SMALL = Files(10, 100 * MB), Files(2000, 16_000)


def read(*sections: Section, model: str | None = "53/90/25") -> Any:
    return json.loads(document(a_comparison(list(sections), model=model)))


def test_two_sizes_tell_the_cpu_of_a_file_and_of_a_gb() -> None:
    """4 ms a file and 2 s a GB: 2.04 s for ten of 100 MB, 8.064 s for 2,000 of 16 KB."""
    large = a_section(measured("threads", a_run(cpu=10 * 0.004 + 2)), workload=LARGE)
    small = a_section(measured("threads", a_run(cpu=2000 * 0.004 + 0.064)), workload=SMALL)

    found = calibrate(read(large, small), "threads", DEFAULT)

    assert found.cpu_file == pytest.approx(0.004)
    assert found.cpu_gb == pytest.approx(2)
    assert found.slots == 10


def test_one_size_changes_both_in_proportion() -> None:
    """The model expects 2.87 s. Twice as much makes both twice as large."""
    expected = 10 * DEFAULT.cpu_file + DEFAULT.cpu_gb
    large = a_section(measured("threads", a_run(cpu=2 * expected)), workload=LARGE)

    found = calibrate(read(large), "threads", DEFAULT)

    assert found.cpu_file == pytest.approx(2 * DEFAULT.cpu_file)
    assert found.cpu_gb == pytest.approx(2 * DEFAULT.cpu_gb)


def test_figures_that_contradict_each_other_scale_both() -> None:
    """If large files take less CPU than small ones, a GB would cost less than nothing."""
    large = a_section(measured("threads", a_run(cpu=0.01)), workload=Files(2000, 100 * MB))
    small = a_section(measured("threads", a_run(cpu=8.0)), workload=SMALL)

    found = calibrate(read(large, small), "threads", DEFAULT)

    assert found.cpu_file > 0
    assert found.cpu_gb / found.cpu_file == pytest.approx(DEFAULT.cpu_gb / DEFAULT.cpu_file)


def test_a_workload_without_cpu_time_does_not_count() -> None:
    none = a_section(measured("threads", a_run(cpu=0.0)), workload=LARGE)
    assert calibrate(read(none), "threads", DEFAULT) == DEFAULT


def test_deployed_functions_tell_the_rate_of_the_card() -> None:
    """1 GB in 10 s; with 512 MB, the CPU had 2.9 s in that time."""
    deployed = a_section(measured("threads", a_run(seconds=10, cpu=1.0), memory_mb=512), workload=LARGE)
    assert calibrate(read(deployed, model=None), "threads", DEFAULT).card_mb == pytest.approx(100)


def test_a_busy_cpu_tells_nothing_about_the_card() -> None:
    busy = a_section(measured("threads", a_run(seconds=10, cpu=2.8), memory_mb=512), workload=LARGE)
    assert calibrate(read(busy, model=None), "threads", DEFAULT).card_mb == DEFAULT.card_mb


def test_the_network_of_the_lab_is_not_that_of_lambda() -> None:
    lab = a_section(measured("threads", a_run(seconds=10, cpu=1.0), memory_mb=512), workload=LARGE)
    assert calibrate(read(lab), "threads", DEFAULT).card_mb == DEFAULT.card_mb


def test_other_variants_and_failed_runs_do_not_count() -> None:
    section = a_section(
        measured("sequential", a_run(cpu=99.0)),
        measured("threads", Failure("Sandbox.Timedout: 1 s"), memory_mb=128),
        measured("threads", a_run(cpu=2.87), memory_mb=512),
        workload=LARGE,
    )
    assert calibrate(read(section), "threads", DEFAULT).cpu_gb == pytest.approx(DEFAULT.cpu_gb)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        pytest.param({}, "is not what `asyncstream compare --json` writes", id="other JSON"),
        pytest.param({"version": 2}, "asyncstream-compare' 2", id="an earlier version"),
        pytest.param({"sections": []}, "no figures of 'threads'", id="no figures"),
    ],
)
def test_other_documents_are_refused(content: dict[str, Any], message: str) -> None:
    whole = read(a_section(measured("threads", a_run()))) | content if content else {}
    with pytest.raises(InputError, match=message):
        calibrate(whole, "threads", DEFAULT)


def test_a_comparison_of_pages_is_refused() -> None:
    with pytest.raises(InputError, match="no figures"):
        calibrate(json.loads(document(a_web_comparison())), "threads", DEFAULT)
