"""Values kept for the next caller: who gets which, and when they are closed."""

import os
import threading

import pytest

from asyncstream.engines.keeping import MAX_IDLE, Kept, close_all_kept


class Value:
    def __init__(self, key: str) -> None:
        self.key = key
        self.closed = 0
        self.fails = False

    def close(self) -> None:
        self.closed += 1
        if self.fails:
            raise OSError("cannot close")


def test_a_value_that_is_free_is_lent_again() -> None:
    kept = Kept(Value)
    with kept.borrow("a") as first:
        pass
    with kept.borrow("a") as second:
        assert second is first
    with kept.borrow("b") as other:
        assert other.key == "b"


def test_a_value_in_use_is_not_lent() -> None:
    kept = Kept(Value)
    with kept.borrow("a") as first, kept.borrow("a") as second:
        assert second is not first


def test_the_idle_values_used_least_recently_are_closed() -> None:
    kept = Kept(Value)
    values = []
    for number in range(MAX_IDLE + 2):
        with kept.borrow(str(number)) as value:
            values.append(value)
    assert [value.closed for value in values] == [1, 1] + [0] * MAX_IDLE


def test_many_borrowers_leave_few_values() -> None:
    created = []

    def create(key: str) -> Value:
        created.append(Value(key))
        return created[-1]

    kept = Kept(create)
    together = threading.Barrier(32)

    def borrow() -> None:
        with kept.borrow("a"):
            together.wait()

    threads = [threading.Thread(target=borrow) for _ in range(32)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(created) == 32
    assert sum(value.closed for value in created) == 32 - MAX_IDLE
    close_all_kept()
    assert {value.closed for value in created} == {1}


def test_a_value_that_cannot_be_closed_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    """The work of the caller whose return closes it has succeeded."""
    kept = Kept(Value)
    with kept.borrow("first") as value:
        value.fails = True
    for number in range(MAX_IDLE):
        with kept.borrow(str(number)):
            pass
    assert value.closed == 1
    assert "could not be closed" in caplog.text


def test_all_idle_values_are_closed_even_if_one_fails() -> None:
    kept = Kept(Value)
    with kept.borrow("a") as first, kept.borrow("b") as second, kept.borrow("c") as third:
        second.fails = True
    with pytest.raises(OSError, match="cannot close"):
        close_all_kept()
    assert [each.closed for each in (first, second, third)] == [1, 1, 1]


def test_a_value_in_use_is_not_closed_with_the_others() -> None:
    kept = Kept(Value)
    with kept.borrow("a") as value:
        close_all_kept()
        assert value.closed == 0
    with kept.borrow("a") as again:
        assert again is value


def test_a_forked_child_keeps_nothing_of_its_parent() -> None:
    """Not even what the parent used at the fork. No lock of the parent's blocks it."""
    kept = Kept(Value)
    with kept.borrow("idle"):
        pass
    child = 1
    with kept._lock, kept.borrow("a") as value:
        child = os.fork()
    if child == 0:
        with kept.borrow("a") as own, kept.borrow("idle") as other:
            right = own is not value and other.closed == 0 and value.closed == 0
        os._exit(0 if right else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
