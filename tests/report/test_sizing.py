from asyncstream.lab.report.sizing import needed_memory

MIB = 2**20


def test_memory_needed_is_never_below_lambdas_smallest() -> None:
    assert needed_memory(50 * MIB, 0.1, 10.0) == 128


def test_memory_needed_has_a_tenth_more_than_the_peak() -> None:
    assert needed_memory(400 * MIB, 0.1, 10.0) == 441  # 440.00...6, rounded up


def test_memory_needed_brings_the_cpu_that_was_used() -> None:
    assert needed_memory(50 * MIB, 5.0, 10.0) == 885  # half of 1,769, rounded up


def test_the_larger_of_the_two_needs_counts() -> None:
    assert needed_memory(2000 * MIB, 5.0, 10.0) > 2000
    assert needed_memory(100 * MIB, 20.0, 10.0) == 3538


def test_memory_needed_ends_at_lambdas_largest() -> None:
    assert needed_memory(20_000 * MIB, 0.1, 10.0) == 10_240


def test_a_run_of_no_time_needs_memory_only() -> None:
    assert needed_memory(50 * MIB, 0.0, 0.0) == 128
