"""For every size, ranges cover each byte once within S3's limits."""

from itertools import pairwise

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from asyncstream.errors import InputError
from asyncstream.objects import MAX_PARTS, ByteRange
from asyncstream.pipeline.plan import (
    AUTO_PART,
    CHAINED_PART,
    MAX_OBJECT,
    MAX_PART,
    MAX_PUT,
    MIN_PART,
    auto_part_size,
    check_size,
    max_range,
    part_length,
    plan_parts,
)
from asyncstream.units import GiB, MiB

# Sizes of all magnitudes: integers up to 50e12 would never include small ones.
SIZES = st.one_of(*(st.integers(0, max_range) for max_range in (10, 30 * MiB, 100 * GiB, MAX_OBJECT)))
PART_SIZES = st.one_of(st.integers(MIN_PART, 100 * MiB), st.integers(MIN_PART, MAX_PART))


def split(size: int, most: int) -> list[ByteRange]:
    """Split a file as a copy does."""
    parts = plan_parts(size, part_length(size, most))
    return [parts.range(number) for number in range(1, parts.planned + 1)]


def assert_is_plan(ranges: list[ByteRange], size: int) -> None:
    """Assert that the ranges have every byte once, in order, within S3's limits."""
    assert ranges[0].start == 0
    assert ranges[-1].stop == size
    assert all(a.stop == b.start for a, b in pairwise(ranges))
    assert 1 <= len(ranges) <= MAX_PARTS
    assert all(range_.length >= MIN_PART for range_ in ranges[:-1])
    assert all(range_.length <= MAX_PART for range_ in ranges)
    assert size == 0 or ranges[-1].length > 0


@given(SIZES, PART_SIZES, st.booleans())
@example(MAX_OBJECT, MIN_PART, True)
@example(MAX_OBJECT, MIN_PART, False)
@example(MIN_PART * MAX_PARTS, MIN_PART, True)
@example(MIN_PART * MAX_PARTS + 1, MIN_PART, True)
def test_a_known_size_is_split_as_s3_takes_it(size: int, part_size: int, multipart: bool) -> None:
    ranges = split(size, max_range(part_size, multipart, chained=False))

    assert_is_plan(ranges, size)
    assert len({range_.length for range_ in ranges[:-1]}) <= 1


@given(st.integers(0, MAX_PUT), PART_SIZES)
@example(MAX_PUT, MIN_PART)
def test_without_multipart_a_file_is_one_range_up_to_5_gib(size: int, part_size: int) -> None:
    assert split(size, max_range(part_size, multipart=False, chained=False)) == [ByteRange(0, size)]


@given(st.integers(MAX_PUT + 1, MAX_OBJECT), PART_SIZES)
def test_a_file_over_5_gib_is_split_also_without_multipart(size: int, part_size: int) -> None:
    assert len(split(size, max_range(part_size, multipart=False, chained=False))) > 1


@given(SIZES, PART_SIZES)
def test_parts_are_no_larger_than_asked_if_10_000_suffice(size: int, part_size: int) -> None:
    ranges = split(size, part_size)

    assert max(range_.length for range_ in ranges) <= part_size or size > part_size * MAX_PARTS


def test_an_object_over_50_tb_is_refused() -> None:
    with pytest.raises(InputError, match=f"{MAX_OBJECT + 1} bytes is over S3's limit of {MAX_OBJECT}"):
        check_size(MAX_OBJECT + 1)


def test_a_chained_transfer_reads_pieces_worth_keeping() -> None:
    """The next transfer may continue after any of them."""
    assert max_range(MIN_PART, multipart=False, chained=True) == CHAINED_PART < MAX_PUT
    assert max_range(MIN_PART, multipart=True, chained=True) == MIN_PART


def test_a_range_is_half_open_inside_and_inclusive_in_its_header() -> None:
    assert ByteRange(0, 1).header == "bytes=0-0"
    assert ByteRange(10, 30).header == "bytes=10-29"
    assert ByteRange(10, 30).length == 20


FILES = st.lists(st.one_of(st.integers(0, 10 * MiB), st.integers(0, MAX_OBJECT)), max_size=20)
SLOTS = st.integers(1, 1000)


@given(FILES, SLOTS)
def test_an_automatic_part_is_whole_mib_from_25_to_5_gib(sizes: list[int], slots: int) -> None:
    chosen = auto_part_size(sizes, slots)

    assert 25 * MiB == AUTO_PART
    assert AUTO_PART <= chosen <= MAX_PART
    assert chosen % MiB == 0


@given(FILES, SLOTS)
def test_automatic_parts_are_about_four_a_slot_within_limits(sizes: list[int], slots: int) -> None:
    chosen, total = auto_part_size(sizes, slots), sum(sizes)

    if chosen < MAX_PART:
        assert total <= chosen * slots * 4
    if chosen > AUTO_PART:
        assert total > (chosen - MiB) * slots * 4


def test_with_no_size_known_a_part_is_the_smallest_automatic_one() -> None:
    assert auto_part_size([], 10) == AUTO_PART


def test_ten_files_of_100_mb_on_ten_slots_are_four_parts_each() -> None:
    part_size = auto_part_size([100_000_000] * 10, 10)

    assert len(split(100_000_000, part_size)) == 4
