"""What files cost a worker, by formulas that can be checked by hand."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asyncstream.errors import InputError
from asyncstream.runs.costs import FREE, GUESSED_BYTES, Cost, Speeds
from asyncstream.units import MB, GiB

# Round numbers: a slot moves 10 MB/s, the card 20, and CPU time is one vCPU's.
ROUND = Speeds(
    memory_mb=1769,
    slots=4,
    stream_mb=10,
    card_mb=20,
    first_byte=0.5,
    cpu_file=2,
    cpu_gb=100,
    cpu_entry=1,
    cpu_inflate_gb=50,
    part_bytes=100 * MB,
)
SIZES = st.integers(0, 5 * GiB)


def test_a_file_computes_waits_for_two_replies_and_moves() -> None:
    cost = ROUND.file_cost(100 * MB)

    assert cost == Cost(slots=2 + 2 * 0.5 + 10, card=5, cpu=2 + 10, longest=13)


def test_an_empty_file_costs_its_two_requests() -> None:
    assert ROUND.file_cost(0) == Cost(slots=3, card=0, cpu=2, longest=3)


def test_a_file_of_unknown_size_costs_the_guess() -> None:
    assert ROUND.file_cost(None) == ROUND.file_cost(GUESSED_BYTES)


def test_a_larger_file_waits_for_each_part_and_two_more() -> None:
    """Three parts of 100 MB at most: 3 x 2 replies, and those that create and complete the upload."""
    cost = ROUND.file_cost(250 * MB)

    assert ROUND.parts_of(250 * MB) == 3
    assert cost == Cost(slots=3 * 3 + 25 + 3, card=12.5, cpu=3 * 2 + 25 + 2, longest=3 + 3 + 25 / 3)


def test_parts_of_a_giant_share_the_slots() -> None:
    cost = ROUND.range_cost(400 * MB, 8)

    assert cost == Cost(slots=8 * 3 + 40, card=20, cpu=16 + 40, longest=3 + 5)


def test_entries_of_an_archive_cost_their_inflated_bytes() -> None:
    cost = ROUND.archive_cost(files=10, decoded=100 * MB, stored=30 * MB)

    assert cost == Cost(slots=10 + 15 + 10, card=5, cpu=10 + 10 + 5, longest=3.5)


def test_stored_entries_are_not_inflated() -> None:
    assert ROUND.archive_cost(10, 100 * MB, 100 * MB).cpu == 20


def test_the_largest_entry_is_the_longest_stream() -> None:
    assert ROUND.archive_cost(10, 100 * MB, largest=90 * MB).longest == 0.9 * 35


def test_ranges_of_lines_wait_for_one_reply_more() -> None:
    cost = ROUND.lines_cost(100 * MB, 5)

    assert cost == Cost(slots=5 * 4.5 + 10, card=5, cpu=5 * 3 + 10, longest=4.5 + 2)


@pytest.mark.parametrize(
    ("cost", "seconds"),
    [
        (Cost(slots=8, card=1, cpu=1, longest=1), 2),
        (Cost(slots=1, card=3, cpu=1, longest=1), 3),
        (Cost(slots=1, card=1, cpu=4, longest=1), 4),
        (Cost(slots=1, card=1, cpu=1, longest=5), 5),
    ],
)
def test_a_worker_takes_as_long_as_the_scarcest(cost: Cost, seconds: float) -> None:
    assert ROUND.seconds(cost) == seconds


def test_a_small_function_has_a_share_of_a_cpu() -> None:
    assert Speeds(memory_mb=512).seconds(Cost(cpu=1)) == pytest.approx(1769 / 512)


def test_a_connection_is_no_faster_than_the_cpu() -> None:
    """128 MB are 0.072 vCPU: at 2.84 CPU seconds a GB, 25 MB/s."""
    assert 1 / Speeds(memory_mb=128).stream_byte == pytest.approx(25.5 * MB, rel=0.01)
    assert 1 / Speeds().stream_byte == pytest.approx(53 * MB)


def test_more_than_one_cpu_does_not_help_python() -> None:
    assert Speeds(memory_mb=10_240).seconds(Cost(cpu=1)) == 1


def test_cpu_limits_small_files_and_the_card_large_ones() -> None:
    speeds = Speeds()
    small, large = speeds.file_cost(1000), speeds.file_cost(500 * MB)

    assert small.cpu / speeds.vcpus > max(small.slots / speeds.slots, small.card)
    assert large.card > max(large.slots / speeds.slots, large.cpu / speeds.vcpus)


@given(SIZES, SIZES)
def test_costs_add_up_and_the_longest_stream_stays(one: int, other: int) -> None:
    speeds = Speeds()
    first, second = speeds.file_cost(one), speeds.file_cost(other)
    both = first + second

    assert both.card == pytest.approx(speeds.file_cost(one).card + speeds.file_cost(other).card)
    assert both.longest == max(first.longest, second.longest)
    assert first + FREE == first
    assert speeds.seconds(both) <= speeds.seconds(first) + speeds.seconds(second) + 1e-9


@given(SIZES, SIZES)
def test_a_larger_file_never_takes_less(one: int, other: int) -> None:
    speeds = Speeds()
    small, large = sorted((one, other))

    assert speeds.seconds(speeds.file_cost(small)) <= speeds.seconds(speeds.file_cost(large))


def test_parts_outside_the_limits_of_s3_are_refused() -> None:
    with pytest.raises(InputError, match="part_bytes=1 "):
        Speeds(part_bytes=1)
