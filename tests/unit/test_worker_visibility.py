"""`KeptInvisible`: extends the time of a message while its batch runs."""

import threading

import pytest

from asyncstream.errors import AsyncstreamError, ConnectionFailed
from asyncstream.worker.visibility import KeptInvisible
from tests.servers.base import GUARD_SECONDS


class Hiding:
    """Hides a message by what `replies` says, and notes each request."""

    def __init__(self, *replies: bool | AsyncstreamError) -> None:
        self._replies = list(replies)
        self.asked = 0
        self.answered_all = threading.Event()
        self.said: list[str] = []

    def __call__(self, seconds: int) -> bool:
        self.asked += 1
        reply = self._replies.pop(0)
        if not self._replies:
            self.answered_all.set()
        if isinstance(reply, AsyncstreamError):
            raise reply
        return reply

    def wait(self) -> None:
        assert self.answered_all.wait(GUARD_SECONDS)


def test_it_extends_until_the_message_is_not_ours() -> None:
    hiding = Hiding(True, True, False)
    with KeptInvisible(hiding, 0, hiding.said.append) as kept:
        hiding.wait()
    assert not kept.ours
    assert hiding.asked == 3


def test_it_tries_again_after_an_error() -> None:
    hiding = Hiding(ConnectionFailed("it broke"), True, False)
    with KeptInvisible(hiding, 0, hiding.said.append) as kept:
        hiding.wait()
    assert not kept.ours
    assert len(hiding.said) == 1


def test_its_thread_has_ended_after_the_block() -> None:
    before = threading.active_count()
    with KeptInvisible(Hiding(True), 3600, print) as kept:
        assert threading.active_count() == before + 1
    assert threading.active_count() == before
    assert kept.ours


def test_its_thread_ends_with_an_error_of_the_block() -> None:
    before = threading.active_count()
    with pytest.raises(ZeroDivisionError), KeptInvisible(Hiding(True), 3600, print):
        raise ZeroDivisionError
    assert threading.active_count() == before
