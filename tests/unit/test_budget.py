"""The arithmetic of the memory cap, and the slots in use while S3 asks for fewer requests."""

from itertools import pairwise
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asyncstream.errors import ConfigError
from asyncstream.pipeline.budget import SlotLimit, slots_within
from asyncstream.pipeline.reservations import Reservations
from asyncstream.pipeline.tasks import Needs


@given(st.integers(0, 100), st.lists(st.integers(0, 60)), st.randoms(use_true_random=False))
def test_reservations_never_exceed_the_limit_nor_get_lost(
    limit: int, sizes: list[int], random: Random
) -> None:
    reservations = Reservations(limit, 0, limit)
    held: list[int] = []
    most = 0
    for size in sizes:
        fits = sum(held) + size <= limit
        assert (reservations.reserve(Needs(transform_bytes=size)) is not None) == fits
        if fits:
            held.append(size)
        most = max(most, sum(held))
        assert limit - reservations.free == sum(held) <= limit
        if held and random.random() < 0.5:
            reservations.release(0, held.pop(random.randrange(len(held))))
    assert reservations.peak == most


@pytest.mark.parametrize("size", [-1, 6])
def test_releasing_what_was_not_reserved_is_a_bug_that_shows(size: int) -> None:
    reservations = Reservations(10, 0, 10)
    reservations.reserve(Needs(transform_bytes=5))

    with pytest.raises(ValueError, match="bytes with 5 reserved"):
        reservations.release(0, size)


@given(st.integers(1, 10**12), st.integers(1, 10**7), st.integers(1, 1000))
def test_slots_are_as_many_as_fit_and_no_more_than_asked(
    limit: int, slot_bytes: int, max_concurrency: int
) -> None:
    if limit < slot_bytes:
        with pytest.raises(ConfigError):
            slots_within(limit, slot_bytes, max_concurrency)
        return
    slots = slots_within(limit, slot_bytes, max_concurrency)

    assert 1 <= slots <= max_concurrency
    assert slots * slot_bytes <= limit
    assert slots == max_concurrency or (slots + 1) * slot_bytes > limit


def test_a_limit_too_small_for_a_slot_names_both_sizes() -> None:
    with pytest.raises(ConfigError, match=r"memory_limit of 1234 bytes is too small.* takes 5678 bytes"):
        slots_within(1234, 5678, 10)


@given(st.integers(1, 40), st.lists(st.booleans(), max_size=200))
def test_slots_in_use_stay_between_one_and_all_of_them(slots: int, ends: list[bool]) -> None:
    """This holds however often S3 asks for fewer requests."""
    limit = SlotLimit(slots)
    assert limit.allowed == slots
    for slowed in ends:
        before = limit.allowed
        limit.ended(slowed)
        assert 1 <= limit.allowed <= slots
        assert limit.allowed in {before, before + 1, max(1, before // 2)}


@given(st.integers(1, 40))
def test_a_burst_of_slowdowns_halves_the_slots_once(slots: int) -> None:
    """All requests in flight met the same busy S3, so their slowdowns count once."""
    limit = SlotLimit(slots)
    for _ in range(slots):
        limit.ended(slowed=True)

    assert limit.allowed == max(1, slots // 2)
    limit.ended(slowed=True)  # started after the cut, so the cut was not enough
    assert limit.allowed == max(1, slots // 4)


@given(st.integers(1, 40), st.lists(st.booleans(), max_size=100))
def test_while_nothing_is_slowed_the_slots_come_back_one_by_one(slots: int, before: list[bool]) -> None:
    limit = SlotLimit(slots)
    for slowed in before:
        limit.ended(slowed)
    seen = [limit.allowed]
    # The requests in flight at the cut do not count. Then each regained slot takes a round of good ends.
    for _ in range(slots + sum(range(slots + 1))):
        limit.ended(slowed=False)
        seen.append(limit.allowed)

    assert all(later - former in {0, 1} for former, later in pairwise(seen))
    assert limit.allowed == slots


def test_a_slot_comes_back_after_a_good_end_of_each_that_is_left() -> None:
    limit = SlotLimit(4)
    limit.ended(slowed=True)
    for _ in range(3):  # the other requests in flight at the cut
        limit.ended(slowed=False)
    seen = []
    for _ in range(6):
        limit.ended(slowed=False)
        seen.append(limit.allowed)

    assert seen == [2, 3, 3, 3, 4, 4]
