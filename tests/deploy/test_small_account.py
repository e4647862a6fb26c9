"""The state machine's retriers in a simulated account with 10 concurrent functions, the limit of new ones."""

import copy
from typing import Any

import pytest

from .simulated_account import THROTTLED, Account, Ended

# A plan aims at batches of this many seconds.
BATCHES, SECONDS = 500, 60.0
SEEDS = range(5)
# Until 2026-11 throttled invocations shared this retrier with other errors.
FORMER = {"ErrorEquals": [THROTTLED], "IntervalSeconds": 1, "MaxAttempts": 6, "BackoffRate": 2}
FORMER |= {"MaxDelaySeconds": 60, "JitterStrategy": "FULL"}


@pytest.fixture
def task(machine: Any) -> Any:
    """Return the first state of a child execution, which a test may change."""
    return copy.deepcopy(machine["States"]["Move"]["ItemProcessor"]["States"]["MoveBatch"])


@pytest.fixture
def at_once(machine: Any) -> int:
    """Return how many children run at once by default."""
    return int(machine["States"]["Defaults"]["Result"]["functions"])


@pytest.mark.parametrize("seed", SEEDS)
def test_no_batch_of_500_fails_with_10_functions(task: Any, at_once: int, seed: int) -> None:
    ended = Account(10, SECONDS, seed).run(task, BATCHES, at_once)

    assert (ended.succeeded, ended.failed) == (BATCHES, 0)
    assert ended.throttled > BATCHES  # otherwise the account was not too small
    # No run can be faster than 10 at once; this one is at most a tenth slower.
    least = BATCHES * SECONDS / 10
    assert least <= ended.simulated_seconds < 1.1 * least


@pytest.mark.parametrize("seed", SEEDS)
def test_with_the_former_retrier_most_fail(task: Any, at_once: int, seed: int) -> None:
    task["Retry"] = [FORMER]
    ended = Account(10, SECONDS, seed).run(task, BATCHES, at_once)

    assert ended.failed > BATCHES / 2
    assert ended.succeeded + ended.failed == BATCHES


def test_within_the_quota_nothing_is_throttled(task: Any, at_once: int) -> None:
    whole = BATCHES * SECONDS

    assert Account(at_once, SECONDS, 0).run(task, BATCHES, at_once) == Ended(BATCHES, 0, whole / at_once, 0)
    # README.md advises fewer `functions` if the account has few.
    assert Account(10, 900.0, 0).run(task, BATCHES, 10) == Ended(BATCHES, 0, BATCHES * 900.0 / 10, 0)


def test_of_batches_of_300_seconds_15_in_100_fail(task: Any, at_once: int) -> None:
    """README.md names this share: new children take the slots that earlier ones wait for."""
    ended = Account(10, 300.0, 0).run(task, BATCHES, at_once)

    assert ended.failed / BATCHES == pytest.approx(0.15, abs=0.01)


def test_a_state_without_retriers_fails_when_it_is_throttled(task: Any) -> None:
    del task["Retry"]

    assert Account(1, SECONDS, 0).run(task, 3, 3) == Ended(1, 2, SECONDS, 2)
