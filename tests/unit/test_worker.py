"""The loop of a worker, with a queue and batches in memory: each way a message can end."""

import json
import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asyncstream.errors import (
    AccessDenied,
    AsyncstreamError,
    ConnectionFailed,
    DeadlineExceeded,
    InputError,
    SourceNotFound,
)
from asyncstream.runs.outcomes import BatchOutcome, RowError, RowLeft
from asyncstream.runs.places import Run
from asyncstream.worker.messages import MAX_REASON, Message, encode_body, parse_body, plain
from asyncstream.worker.queue_worker import MAX_FAILURES, QueueWorker, WorkerSettings
from asyncstream.worker.stopping import Interrupted, Stopping
from tests.servers.base import GUARD_SECONDS

RUN = Run.from_uri("s3://bucket/run/")
BATCH = "s3://bucket/run/plan/000007.jsonl"
BODY = encode_body(RUN, 7)

DONE = BatchOutcome(batch=7, rows=2, files=2, bytes=10, seconds=1.0, runs=1)
PENDING = BatchOutcome(batch=7, rows=2, files=1, runs=1, left=[RowLeft(1, "s3://a/1", "s3://b/1")])
DENIED = RowLeft(1, "s3://a/1", "s3://b/1", RowError("AccessDenied", "no\nway"))
FAILED = BatchOutcome(batch=7, rows=2, files=1, runs=1, left=[DENIED])

Step = BatchOutcome | AsyncstreamError | Callable[[], BatchOutcome]


class Site:
    """A queue, its dead letters and the batches of a run. `did` has what the worker asked of them."""

    def __init__(self, *messages: Message | AsyncstreamError, steps: tuple[Step, ...] = ()) -> None:
        self.did: list[str] = []
        self.said: list[str] = []
        self.slept: list[float] = []
        self.sent: list[tuple[str, dict[str, str]]] = []
        self.hidden = threading.Event()
        self.outcome: BatchOutcome | None = None
        self.refuses: set[str] = set()
        self.is_ours = True
        self.counts: list[int] = []  # messages that others have, at each count; then none
        self.polls = 0
        self.stopping = Stopping(lambda: self._do("notice"))
        self._messages = list(messages)
        self._steps = list(steps)

    def _do(self, name: str) -> None:
        self.did.append(name)
        if name in self.refuses:
            raise ConnectionFailed(f"{name}: the connection broke")

    def receive(self, seconds: int, wait: int) -> Message | None:
        self.polls += 1
        if not self._messages:
            return None
        message = self._messages.pop(0)
        if isinstance(message, AsyncstreamError):
            raise message
        return message

    def hide(self, message: Message, seconds: int) -> bool:
        if seconds == 0:
            self._do("show")
        self.hidden.set()
        return self.is_ours

    def count(self) -> int:
        return self.counts.pop(0) if self.counts else 0

    def delete(self, message: Message) -> None:
        self._do("delete")

    def send(self, body: str, attributes: dict[str, str]) -> None:
        self._do("dead")
        self.sent.append((body, attributes))

    def run(self, run: Run, number: int) -> BatchOutcome:
        assert (run, number) == (RUN, 7)
        self._do("run")
        step = self._steps.pop(0)
        if isinstance(step, AsyncstreamError):
            raise step
        return step() if callable(step) else step

    def read_outcome(self, run: Run, number: int) -> BatchOutcome | None:
        return self.outcome

    def worker(self, *, dead_letters: bool = True, **settings: object) -> QueueWorker:
        given = WorkerSettings(**{"until_empty": True, **settings})  # type: ignore[arg-type]
        return QueueWorker(
            queue=self,
            dead_letters=self if dead_letters else None,
            batches=self,
            stopping=self.stopping,
            settings=given,
            say=self.said.append,
            sleep=self.slept.append,
        )

    def work(self, *, dead_letters: bool = True, **settings: object) -> QueueWorker:
        worker = self.worker(dead_letters=dead_letters, **settings)
        worker.work()
        return worker


def message(body: str = BODY, receives: int = 1) -> Message:
    return Message(body, "handle", receives)


@contextmanager
def signals(site: Site) -> Iterator[None]:
    with site.stopping:
        yield


def signalled(outcome: BatchOutcome) -> Callable[[], BatchOutcome]:
    """Return a run of a batch during which SIGTERM comes."""

    def run() -> BatchOutcome:
        signal.raise_signal(signal.SIGTERM)
        return outcome

    return run


def test_the_message_of_a_done_batch_is_deleted() -> None:
    site = Site(message(), steps=(DONE,))
    assert site.work().ended == {"done": 1}
    assert site.did == ["run", "delete"]
    assert site.said == [f"{BATCH}: 2 files, 10 B in 1.0 s, 0 left"]


def test_rows_out_of_time_are_run_again_in_place() -> None:
    site = Site(message(), steps=(PENDING, PENDING, DONE))
    site.work()
    assert site.did == ["run", "run", "run", "delete"]


def test_failed_rows_go_to_the_dead_letters_first() -> None:
    """A worker that is killed between the two requests leaves the message in both queues, not in none."""
    site = Site(message(), steps=(FAILED,))
    assert site.work().ended == {"dead": 1}
    assert site.did == ["run", "dead", "delete"]
    reason = "1 of 2 rows failed; s3://a/1: AccessDenied: no\ufffdway"
    assert site.sent == [(BODY, {"reason": reason, "batch": BATCH})]


def test_a_message_stays_if_the_dead_letters_fail() -> None:
    site = Site(message(), steps=(FAILED,))
    site.refuses.add("dead")
    assert site.work().ended == {"left": 1}
    assert site.did == ["run", "dead"]
    assert "the connection broke" in site.said[-1]


def test_a_message_that_cannot_be_deleted_is_left() -> None:
    """It comes again, and its batch is found done."""
    site = Site(message(), message(), steps=(DONE, DONE))
    site.refuses.add("delete")
    assert site.work().ended == {"left": 2}


def test_without_dead_letters_a_message_stays() -> None:
    """It is not made visible at once, because it would come again without a pause."""
    site = Site(message(), steps=(FAILED,))
    assert site.work(dead_letters=False).ended == {"left": 1}
    assert site.did == ["run"]
    assert "name --dead-letters" in site.said[-1]


@pytest.mark.parametrize(
    "body",
    [
        "",
        "not JSON",
        "[" * 100_000,
        "{}",
        '{"batch": 7}',
        '{"batch": null}',
        '{"batch": "s3://bucket/run/plan/7.jsonl"}',
        '{"batch": "s3://bucket/run/run.json"}',
        '{"batch": "https://host/run/plan/000007.jsonl"}',
        '{"batch": "s3:///plan/000007.jsonl"}',
        '{"batch": "s3://bucket/run/plan/000007.jsonl\\n"}',
        '{"batch": "s3://bucket/\\ud800/plan/000007.jsonl"}',
        '{"batch": "s3://bucket/run/plan/000007.jsonl", "check": false}',
        '{"batch": "s3://bucket/run/plan/000007.jsonl"} {}',
        '"\ud800"',
    ],
    ids=range(15),
)
def test_a_wrong_body_goes_to_the_dead_letters(body: str) -> None:
    site = Site(message(body))
    assert site.work().ended == {"dead": 1}
    assert site.did == ["dead", "delete"]
    sent, attributes = site.sent[0]
    assert sent == body
    assert attributes.keys() == {"reason"}
    assert attributes["reason"].startswith("InputError: ")
    assert len(attributes["reason"]) <= MAX_REASON


JSON = st.recursive(st.none() | st.text(), lambda each: st.lists(each) | st.dictionaries(st.text(), each))
NEARLY = st.text().map(lambda text: {"batch": f"s3://{text}/plan/000007.jsonl"})


@given(st.text() | (JSON | NEARLY).map(json.dumps))
def test_any_body_is_a_batch_or_an_input_error(body: str) -> None:
    try:
        run, number = parse_body(body, None)
    except InputError:
        return
    assert parse_body(encode_body(run, number), run) == (run, number)


@given(st.text(st.characters(codec=None), max_size=2_000))
def test_a_reason_is_one_line_that_sqs_takes(text: str) -> None:
    """SQS takes tabs and line breaks, too, which would break a line of a log."""
    found = plain(text)
    assert len(found) <= MAX_REASON
    assert len(found.splitlines() or [""]) == 1
    assert all(" " <= each <= "\ud7ff" or "\ue000" <= each <= "\ufffd" or each > "\uffff" for each in found)


@pytest.mark.parametrize("other", ["s3://bucket/ru/", "s3://bucket/run/2/", "s3://other/run/"])
def test_batches_of_other_runs_are_refused(other: str) -> None:
    site = Site(message(encode_body(Run.from_uri(other), 7)))
    assert site.work(only=RUN).ended == {"dead": 1}
    assert site.did == ["dead", "delete"]
    assert "is not of s3://bucket/run/" in site.sent[0][1]["reason"]


def test_batches_of_the_named_run_are_run() -> None:
    site = Site(message(), steps=(DONE,))
    assert site.work(only=RUN).ended == {"done": 1}


@pytest.mark.parametrize("error", [InputError("line 3 is wrong"), SourceNotFound("no such batch")])
def test_a_wrong_batch_goes_to_the_dead_letters(error: AsyncstreamError) -> None:
    site = Site(message(), steps=(error,))
    assert site.work().ended == {"dead": 1}
    assert site.sent[0][1] == {"reason": f"{type(error).__name__}: {error}", "batch": BATCH}


def test_other_errors_leave_the_message() -> None:
    """Another worker may have the permission, or S3 answer again."""
    site = Site(message(), steps=(AccessDenied("denied"),))
    assert site.work().ended == {"left": 1}
    assert site.did == ["run"]


def test_the_last_error_is_the_reason_at_the_last_try() -> None:
    site = Site(message(receives=5), steps=(AccessDenied("denied"),))
    assert site.work().ended == {"dead": 1}
    assert site.sent[0][1]["reason"] == "AccessDenied: denied"


def test_a_batch_that_kills_workers_is_not_run_again() -> None:
    site = Site(message(receives=6))
    assert site.work().ended == {"dead": 1}
    assert site.did == ["dead", "delete"]
    assert site.sent[0][1]["reason"] == "received 6 times with 0 outcomes: it may end its workers"


def test_runs_with_an_outcome_do_not_count_as_killed() -> None:
    """Six workers were each stopped by a signal, and wrote what they had done."""
    site = Site(message(receives=7), steps=(DONE,))
    site.outcome = BatchOutcome(batch=7, rows=2, runs=6, left=PENDING.left)
    assert site.work().ended == {"done": 1}


def test_a_done_batch_is_deleted_however_often_received() -> None:
    site = Site(message(receives=100), steps=(DONE,))
    site.outcome = DONE
    assert site.work().ended == {"done": 1}


def test_sigterm_shows_an_unfinished_batch_at_once() -> None:
    site = Site(message(), message(), steps=(signalled(PENDING),))
    with signals(site):
        assert site.work(until_empty=False).ended == {"again": 1}
    assert site.did == ["run", "notice", "show"]
    assert site.stopping.signal == signal.SIGTERM


def test_sigterm_in_the_last_file_still_deletes() -> None:
    site = Site(message(), message(), steps=(signalled(DONE),))
    with signals(site):
        assert site.work(until_empty=False).ended == {"done": 1}
    assert site.did == ["run", "notice", "delete"]


def test_an_error_after_sigterm_shows_the_message() -> None:
    def run() -> BatchOutcome:
        signal.raise_signal(signal.SIGTERM)
        raise DeadlineExceeded("no outcome was written")

    site = Site(message(receives=5), steps=(run,))
    with signals(site):
        assert site.work(until_empty=False).ended == {"again": 1}
    assert site.did == ["run", "notice", "show"]


def test_sigterm_interrupts_the_wait_for_a_message() -> None:
    site = Site()

    def receive(seconds: int, wait: int) -> Message | None:
        signal.raise_signal(signal.SIGTERM)
        raise AssertionError("the signal did not interrupt")

    site.receive = receive  # type: ignore[method-assign]
    with signals(site):
        site.work(until_empty=False)
    assert site.did == ["notice"]


def test_a_signal_before_the_wait_interrupts_it() -> None:
    site = Site()
    with signals(site):
        signal.raise_signal(signal.SIGTERM)
        with pytest.raises(Interrupted), site.stopping.waiting():
            raise AssertionError("it waited")


def test_the_second_signal_ends_the_process(monkeypatch: pytest.MonkeyPatch) -> None:
    codes: list[int] = []
    monkeypatch.setattr(os, "_exit", codes.append)
    site = Site()
    with signals(site):
        signal.raise_signal(signal.SIGTERM)
        signal.raise_signal(signal.SIGINT)
        assert codes == [130]


def test_ignored_signals_stay_ignored() -> None:
    """A shell ignores SIGINT for the jobs that it runs in the background."""
    earlier = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        site = Site()
        with signals(site):
            signal.raise_signal(signal.SIGINT)
            assert not site.stopping.given
    finally:
        signal.signal(signal.SIGINT, earlier)


def test_a_message_of_another_worker_is_left_alone() -> None:
    """Its time was over while the worker was suspended, and the other worker ends it."""
    site = Site(message(), steps=(lambda: after_hiding(site, FAILED),))
    site.is_ours = False
    assert site.work(visibility=1).ended == {"left": 1}
    assert site.did == ["run"]
    assert "another worker may have it" in site.said[-1]


def test_a_done_message_of_another_worker_is_deleted() -> None:
    site = Site(message(), steps=(lambda: after_hiding(site, DONE),))
    site.is_ours = False
    assert site.work(visibility=1).ended == {"done": 1}


def after_hiding(site: Site, outcome: BatchOutcome) -> BatchOutcome:
    """Return the outcome of a batch that runs until its message is hidden again."""
    assert site.hidden.wait(GUARD_SECONDS)
    return outcome


def test_a_queue_that_fails_is_asked_again() -> None:
    site = Site(ConnectionFailed("it broke"), ConnectionFailed("again"), message(), steps=(DONE,))
    assert site.work().ended == {"done": 1}
    assert site.slept == [2.0, 4.0]


def test_a_queue_that_keeps_failing_is_given_up() -> None:
    site = Site(*[ConnectionFailed("it broke")] * MAX_FAILURES)
    with pytest.raises(ConnectionFailed):
        site.work()
    assert len(site.slept) == MAX_FAILURES - 1
    assert max(site.slept) == 30.0


def test_a_queue_that_denies_is_given_up_at_once() -> None:
    site = Site(AccessDenied("the role needs sqs:ReceiveMessage"))
    with pytest.raises(AccessDenied):
        site.work()
    assert site.slept == []


def test_once_waits_for_messages_that_others_have() -> None:
    """Another worker may be killed: its message then comes back."""
    site = Site()
    site.counts = [2, 1, 0]

    site.work()

    assert site.polls == 3


def test_once_does_not_wait_for_what_it_has_left() -> None:
    """Without a queue for dead letters, a message that cannot be done stays."""
    site = Site(Message("wrong", "handle", 1))
    site.counts = [1]

    worker = site.work(dead_letters=False)

    assert (site.polls, worker.ended["left"]) == (2, 1)
