"""When to try again, and for how long to wait before."""

from collections.abc import Iterable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asyncstream import errors
from asyncstream.engines.driver import drive
from asyncstream.errors import AsyncstreamError, ServiceBusy
from asyncstream.retry import RetryPolicy, repeat, wait_before_retry

POLICY = RetryPolicy(max_attempts=4, base_delay=0.1, max_delay=0.3)


@pytest.mark.parametrize(
    ("error", "attempt", "jitter", "wait"),
    [
        (ServiceBusy("slow down"), 1, 1.0, 0.1),
        (ServiceBusy("slow down"), 2, 1.0, 0.2),
        (ServiceBusy("slow down"), 3, 1.0, 0.3),  # max_delay, not 0.4
        (ServiceBusy("slow down"), 2, 0.5, 0.1),
        (ServiceBusy("slow down"), 2, 0.0, 0.0),
        (ServiceBusy("slow down"), 4, 1.0, None),  # that was the last
        (errors.WrongRegion("elsewhere", "eu-west-1"), 1, 1.0, 0.1),
        (errors.TruncatedBody("short"), 1, 1.0, 0.1),
        (errors.SourceNotFound("gone"), 1, 1.0, None),
        (errors.Cancelled("stopped"), 1, 1.0, None),
    ],
)
def test_the_wait_before_another_try(
    error: AsyncstreamError, attempt: int, jitter: float, wait: float | None
) -> None:
    assert wait_before_retry(error, attempt, POLICY, jitter) == (
        None if wait is None else pytest.approx(wait)
    )


@given(
    st.integers(1, 99),
    st.builds(
        RetryPolicy,
        st.integers(1, 100),
        st.floats(0, 1e3, exclude_min=True),
        st.floats(0, 1e3, exclude_min=True),
    ),
    st.floats(0, 1, exclude_max=True),
)
def test_a_wait_is_within_its_bound_and_given_exactly_max_attempts_minus_one_times(
    attempt: int, policy: RetryPolicy, jitter: float
) -> None:
    wait = wait_before_retry(ServiceBusy("busy"), attempt, policy, jitter)

    assert (wait is None) == (attempt >= policy.max_attempts)
    if wait is not None:
        assert 0 <= wait <= min(policy.max_delay, policy.base_delay * 2 ** (attempt - 1))


class Tries:
    """`once` that ends as it is told, and what was waited and told meanwhile."""

    def __init__(self, ends: Iterable[Exception | str]) -> None:
        self._ends = iter(ends)
        self.count = 0
        self.waits: list[float] = []
        self.told: list[Exception] = []
        self.left = 1000.0

    async def once(self) -> str:
        self.count += 1
        end = next(self._ends)
        if isinstance(end, str):
            return end
        raise end

    async def sleep(self, seconds: float) -> None:
        self.waits.append(seconds)

    def repeat(self) -> str:
        return drive(repeat(self.once, POLICY, self.sleep, lambda: self.left, self.told.append))


def test_what_succeeds_at_once_is_neither_repeated_nor_waited_for() -> None:
    tries = Tries(["done"])

    assert tries.repeat() == "done"
    assert (tries.count, tries.waits, tries.told) == (1, [], [])


def test_each_error_that_is_followed_by_another_try_is_told_and_waited_for() -> None:
    passing = [ServiceBusy("1"), ServiceBusy("2")]
    tries = Tries([*passing, "done"])

    assert tries.repeat() == "done"
    assert tries.told == passing
    assert [0 <= wait <= bound for wait, bound in zip(tries.waits, (0.1, 0.2), strict=True)] == [True, True]


def test_the_last_error_is_raised_after_max_attempts_and_told_no_more() -> None:
    failures = [ServiceBusy(str(number)) for number in range(9)]
    tries = Tries(failures)

    with pytest.raises(ServiceBusy) as raised:
        tries.repeat()
    assert raised.value is failures[3]
    assert tries.count == POLICY.max_attempts
    assert tries.told == failures[:3]
    assert len(tries.waits) == 3


@pytest.mark.parametrize("error", [errors.SourceNotFound("gone"), ValueError("a bug")])
def test_what_repeating_cannot_help_is_raised_at_once(error: Exception) -> None:
    tries = Tries([error])

    with pytest.raises(type(error)) as raised:
        tries.repeat()
    assert raised.value is error
    assert (tries.count, tries.waits) == (1, [])


def test_a_wait_that_would_outlast_the_deadline_is_not_begun() -> None:
    tries = Tries([ServiceBusy("SlowDown"), "done"])
    tries.left = 0.0

    with pytest.raises(ServiceBusy):
        tries.repeat()
    assert (tries.count, tries.waits, tries.told) == (1, [], [])
