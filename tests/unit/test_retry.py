"""Which errors are retried, and after what wait."""

from collections.abc import Iterable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asyncstream import errors
from asyncstream.deadline import NO_DEADLINE, Deadline
from asyncstream.engines.driver import drive
from asyncstream.errors import AsyncstreamError, ServiceBusy
from asyncstream.retry import RULES, Retrying, RetryPolicy, Tries, wait_before_retry

POLICY = RetryPolicy(max_attempts=4, base_delay=0.1, max_delay=0.3, max_wait=100.0)
BUSY = ServiceBusy("503")
MOMENTARY = [
    BUSY,
    errors.ConnectionFailed("reset"),
    errors.TruncatedBody("short"),
    errors.WrongRegion("elsewhere", "eu-west-1"),
]
HOPELESS = [
    errors.SourceNotFound("gone"),
    errors.Cancelled("stopped"),
    errors.SourceChanged("overwritten"),
    errors.OtherVersion("overwritten"),
    errors.UploadGone("aborted"),
    errors.WriteConflict("409"),
    errors.S3Error("418"),
]


@pytest.mark.parametrize(
    ("counted", "jitter", "wait"),
    [
        (0, 1.0, 0.1),
        (1, 1.0, 0.2),
        (2, 1.0, 0.3),  # max_delay, not 0.4
        (1, 0.5, 0.1),
        (1, 0.0, 0.0),
        (3, 1.0, None),  # that was the last attempt
    ],
)
def test_waits_grow_up_to_max_delay_and_end_with_the_last_try(
    counted: int, jitter: float, wait: float | None
) -> None:
    assert wait_before_retry(BUSY, Tries(counted), POLICY, jitter) == approx(wait)


def approx(seconds: float | None) -> object:
    return None if seconds is None else pytest.approx(seconds)


def retry_waits(error: AsyncstreamError, policy: RetryPolicy, jitter: float = 0.999) -> list[float]:
    """Return the waits until the same error is no longer retried."""
    tries, waits = Tries(), []
    while (wait := wait_before_retry(error, tries, policy, jitter)) is not None:
        waits.append(wait)
        assert len(waits) < 200, "the retries never end"
    return waits


PATIENT = RetryPolicy(max_attempts=5, base_delay=1.0, max_delay=1000.0, max_wait=1e6)


@pytest.mark.parametrize(
    ("error", "waits"),
    [
        *((error, [1, 2, 4, 8]) for error in MOMENTARY),
        (errors.SlowDown("fewer, please"), [4, 8, 16, 32]),  # four times as patient
        (errors.ConnectionClosed("stale"), [0, 1, 2, 4, 8]),  # one immediate retry, which does not count
        (errors.ChecksumRefused("unknown"), [0, 1, 2, 4, 8]),  # the next try sends none
        (errors.CredentialsExpired("expired"), [1]),  # credentials are read again, once
        (errors.ChecksumMismatch("other bytes"), [1, 2]),  # three times in a row is not chance
        *((error, []) for error in HOPELESS),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else "",
)
def test_each_row_of_the_table(error: AsyncstreamError, waits: list[float]) -> None:
    assert retry_waits(error, PATIENT, jitter=1.0) == [pytest.approx(wait) for wait in waits]


def test_the_table_has_a_row_for_every_error() -> None:
    """The test above has every row. A row behind one of its parents could never apply."""
    assert [kind.__name__ for kind, _ in RULES] == [
        "SlowDown",
        "ConnectionClosed",
        "ChecksumRefused",
        "CredentialsExpired",
        "ChecksumMismatch",
        "AsyncstreamError",
    ]


def test_fewer_tries_than_a_row_allows_are_the_policys() -> None:
    twice = RetryPolicy(max_attempts=2, base_delay=1.0)

    assert len(retry_waits(errors.ChecksumMismatch("other bytes"), twice)) == 1
    assert len(retry_waits(errors.CredentialsExpired("expired"), RetryPolicy(max_attempts=1))) == 0


def test_a_free_try_is_left_also_where_only_one_is_allowed() -> None:
    """The connection proved closed when the client sent: the request has not reached S3 yet."""
    assert retry_waits(errors.ConnectionClosed("stale"), RetryPolicy(max_attempts=1)) == [0.0]


def test_a_free_try_is_not_counted_against_what_fails_next() -> None:
    tries = Tries()
    wait_before_retry(errors.ConnectionClosed("stale"), tries, POLICY, 1.0)
    assert (tries.counted, tries.free) == (0, 1)

    wait_before_retry(BUSY, tries, POLICY, 1.0)
    assert (tries.counted, tries.free, tries.waited) == (1, 1, pytest.approx(0.1))


@pytest.mark.parametrize("kind", [ServiceBusy, errors.SlowDown])
def test_s3_is_not_asked_again_before_the_time_it_named(kind: type[ServiceBusy]) -> None:
    """This holds even if that time is longer than max_delay."""
    assert wait_before_retry(kind("busy", retry_after=7.5), Tries(), POLICY, 0.0) == 7.5
    longer = wait_before_retry(kind("busy", retry_after=0.001), Tries(), POLICY, 1.0)
    assert longer is not None
    assert longer >= 0.1


def test_a_request_is_given_up_if_s3_asks_for_over_max_wait() -> None:
    """Earlier waits count."""
    tries = Tries(counted=1, waited=60.0)

    assert wait_before_retry(ServiceBusy("busy", retry_after=40.0), tries, POLICY, 0.0) == 40.0
    assert wait_before_retry(ServiceBusy("busy", retry_after=0.1), tries, POLICY, 0.0) is None


POLICIES = st.builds(
    RetryPolicy,
    max_attempts=st.integers(1, 100),
    base_delay=st.floats(0, 1e3, exclude_min=True),
    max_delay=st.floats(0, 1e3, exclude_min=True),
    max_wait=st.floats(0, 1e3, exclude_min=True),
)
JITTERS = st.floats(0, 1, exclude_max=True)


@given(st.integers(0, 99), POLICIES, JITTERS)
def test_a_wait_is_uniform_within_a_bound_that_doubles(
    counted: int, policy: RetryPolicy, jitter: float
) -> None:
    bound = min(policy.max_delay, policy.base_delay * 2**counted)

    wait = wait_before_retry(BUSY, Tries(counted), policy, jitter)

    given_up = counted + 1 >= policy.max_attempts or jitter * bound > policy.max_wait
    assert wait == (None if given_up else pytest.approx(jitter * bound))


@given(
    POLICIES,
    st.lists(
        st.tuples(
            st.sampled_from([*MOMENTARY, errors.SlowDown("x", 2.0), errors.ConnectionClosed("x")]), JITTERS
        ),
        max_size=120,
    ),
)
def test_waits_and_tries_stay_within_max_wait_and_max_attempts(
    policy: RetryPolicy, failures: list[tuple[AsyncstreamError, float]]
) -> None:
    """One more try is free."""
    tries, waits = Tries(), []
    for error, jitter in failures:
        wait = wait_before_retry(error, tries, policy, jitter)
        if wait is None:
            break
        waits.append(wait)

    assert sum(waits) <= policy.max_wait * (1 + 1e-9)
    assert len(waits) <= policy.max_attempts


class Request:
    """A request with scripted ends; records waits and reported errors. Each try takes a second."""

    def __init__(self, ends: Iterable[Exception | str], seconds: float | None = None) -> None:
        self._ends = iter(ends)
        self.count = 0
        self.waits: list[float] = []
        self.reported: list[Exception] = []
        self.announced: list[float] = []
        self.left = 1000.0
        self.now = 0.0
        self._deadline = NO_DEADLINE if seconds is None else Deadline(seconds, lambda: self.now)

    async def once(self) -> str:
        self.count += 1
        self.now += 1.0
        end = next(self._ends)
        if isinstance(end, str):
            return end
        raise end

    async def sleep(self, seconds: float) -> None:
        self.waits.append(seconds)

    def on_retry(self, error: AsyncstreamError, wait: float) -> None:
        self.reported.append(error)
        self.announced.append(wait)

    def repeat(self) -> str:
        retrying = Retrying(POLICY, self._deadline, self.sleep)
        return drive(retrying.run(self.once, self.on_retry, lambda: self.left))


def test_a_success_is_neither_repeated_nor_waited_for() -> None:
    request = Request(["done"])

    assert request.repeat() == "done"
    assert (request.count, request.waits, request.reported) == (1, [], [])


def test_each_retried_error_is_reported_and_waited_for() -> None:
    passing = [ServiceBusy("1"), ServiceBusy("2")]
    request = Request([*passing, "done"])

    assert request.repeat() == "done"
    assert request.reported == passing
    assert request.announced == request.waits
    assert [0 <= wait <= bound for wait, bound in zip(request.waits, (0.1, 0.2), strict=True)] == [True, True]


def test_the_last_error_is_raised_after_max_attempts() -> None:
    """It is not reported as a retry."""
    failures = [ServiceBusy(str(number)) for number in range(9)]
    request = Request(failures)

    with pytest.raises(ServiceBusy) as raised:
        request.repeat()
    assert raised.value is failures[3]
    assert request.count == POLICY.max_attempts
    assert request.reported == failures[:3]
    assert len(request.waits) == 3


@pytest.mark.parametrize(
    "error", [errors.SourceNotFound("gone"), errors.DeadlineExceeded("late"), ValueError("a bug")]
)
def test_what_repeating_cannot_help_is_raised_at_once(error: Exception) -> None:
    request = Request([error])

    with pytest.raises(type(error)) as raised:
        request.repeat()
    assert raised.value is error
    assert (request.count, request.waits) == (1, [])


def test_a_wait_that_would_outlast_another_bound_is_not_started() -> None:
    request = Request([ServiceBusy("SlowDown"), "done"])
    request.left = 0.0

    with pytest.raises(ServiceBusy):
        request.repeat()
    assert (request.count, request.waits, request.reported) == (1, [], [])


def test_a_free_try_is_reported_and_not_waited_for() -> None:
    stale = errors.ConnectionClosed("stale")
    request = Request([stale, "done"])

    assert request.repeat() == "done"
    assert (request.waits, request.reported) == ([0.0], [stale])


def test_a_deadline_error_names_the_error_before_it() -> None:
    """That error took the time."""
    late = errors.DeadlineExceeded("less than 2 s are left")
    request = Request([ServiceBusy("1"), ServiceBusy("starting up"), late])

    with pytest.raises(
        errors.DeadlineExceeded, match=r"^less than 2 s are left, after: starting up$"
    ) as raised:
        request.repeat()
    assert raised.value.__cause__ is late


def test_no_try_starts_after_the_deadline() -> None:
    request = Request(["done"], seconds=0.0)

    with pytest.raises(
        errors.DeadlineExceeded, match=r"^the deadline of 0 s passed before the work was done$"
    ):
        request.repeat()
    assert request.count == 0


@pytest.mark.parametrize("seconds", [0.5, 1.0, 3.0], ids=["passed", "reached", "before the next try"])
def test_a_try_that_the_deadline_forbids_is_not_waited_for(seconds: float) -> None:
    """The message has the error of the last try, because a user cannot act on the deadline alone."""
    request = Request([ServiceBusy("busy", retry_after=2.0), "done"], seconds)

    with pytest.raises(
        errors.DeadlineExceeded,
        match=rf"^the deadline of {seconds:g} s comes before the next try, after: busy$",
    ):
        request.repeat()
    assert (request.count, request.waits, request.reported) == (1, [], [])


def test_an_error_never_retried_is_raised_past_the_deadline() -> None:
    request = Request([errors.SourceNotFound("gone")], seconds=0.5)

    with pytest.raises(errors.SourceNotFound):
        request.repeat()


def test_what_failed_before_the_deadline_passed_is_reported() -> None:
    """The wait itself takes too long, so the next try starts after the deadline."""
    request = Request([ServiceBusy("busy"), "done"], seconds=1.5)

    async def oversleep(_: float) -> None:
        request.now += 1.0

    request.sleep = oversleep  # type: ignore[method-assign, assignment]
    with pytest.raises(
        errors.DeadlineExceeded,
        match=r"^the deadline of 1\.5 s passed before the work was done, after: busy$",
    ):
        request.repeat()
    assert request.count == 1
