"""The memory cap as arithmetic."""

from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asyncstream.budget import MemoryBudget, slots_within
from asyncstream.errors import ConfigError


@given(st.integers(0, 100), st.lists(st.integers(0, 60)), st.randoms(use_true_random=False))
def test_what_is_reserved_never_exceeds_the_limit_and_is_never_lost(
    limit: int, sizes: list[int], random: Random
) -> None:
    budget = MemoryBudget(limit)
    held: list[int] = []
    most = 0
    for size in sizes:
        fits = sum(held) + size <= limit
        assert budget.reserve(size) == fits
        if fits:
            held.append(size)
        most = max(most, sum(held))
        assert budget.reserved == sum(held) <= limit
        if held and random.random() < 0.5:
            budget.release(held.pop(random.randrange(len(held))))
    assert budget.peak == most


@pytest.mark.parametrize("size", [-1, 6])
def test_releasing_what_was_not_reserved_is_a_bug_that_shows(size: int) -> None:
    budget = MemoryBudget(10)
    budget.reserve(5)

    with pytest.raises(ValueError, match=f"{size} bytes with 5 reserved"):
        budget.release(size)


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


def test_a_limit_too_small_for_one_slot_names_the_limit_and_what_a_slot_takes() -> None:
    with pytest.raises(ConfigError, match=r"memory_limit of 1234 bytes is too small.* takes 5678 bytes"):
        slots_within(1234, 5678, 10)
