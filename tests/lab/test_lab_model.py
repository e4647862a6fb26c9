import random
from collections.abc import Iterable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asyncstream.lab.s3.http import Request, parse_request
from asyncstream.lab.s3.model import CREDIT_SECONDS, QUANTUM, Network, NetworkModel, RateClock

from .fake_time import FakeTime


def network(text: str, time: FakeTime) -> Network:
    return Network(NetworkModel.parse(text), time, time.sleep)


def get(key: str, query: str = "") -> Request:
    return parse_request(f"GET /b/{key}?{query} HTTP/1.1\r\n\r\n".encode())


def test_a_model_is_written_as_mb_per_second_and_milliseconds() -> None:
    assert NetworkModel.parse("53/90/25") == NetworkModel(53e6, 90e6, 0.025)
    assert NetworkModel.parse("0.5/0/0/10", seed=3) == NetworkModel(0.5e6, None, 0.0, 0.1, 3)
    assert NetworkModel.parse("off") == NetworkModel()


@pytest.mark.parametrize(
    "text", ["", "53", "53/90", "53/90/25/1/2", "a/b/c", "-1/2/3", "1/2/nan", "1/2/3/100"]
)
def test_what_is_no_model_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="network model"):
        NetworkModel.parse(text)


def test_without_a_model_nothing_waits() -> None:
    time = FakeTime()
    off = network("off", time)
    off.wait_for_first_byte(1.0)
    off.inbound(1.0).wait(10**12)
    off.outbound(1.0).wait(10**12)
    assert time.sleeps == 0


@given(st.lists(st.integers(1, QUANTUM), min_size=1, max_size=50), st.floats(0, CREDIT_SECONDS))
def test_sleeps_that_overshoot_do_not_slow_a_connection(sizes: list[int], overshoot: float) -> None:
    """The bytes take the time that follows from the rate."""
    time = FakeTime(overshoot)
    start = time.now
    pace = network("10/0/0", time).outbound(1.0)
    for size in sizes:
        pace.wait(size)
    exact = sum(sizes) / 10e6
    assert exact - 1e-6 <= time.now - start <= exact + overshoot + 1e-6


@given(st.lists(st.tuples(st.integers(0, QUANTUM), st.floats(0, 0.1)), min_size=1, max_size=30))
def test_time_lost_by_the_caller_is_made_up_within_the_credit(steps: list[tuple[int, float]]) -> None:
    clock = RateClock(10e6, now=0.0)
    now, total = 0.0, 0
    through = [(now, total)]
    for size, pause in steps:
        total += size
        now = max(now, clock.reserve(size, now))
        for earlier, earlier_total in through:
            assert now - earlier >= (total - earlier_total) / 10e6 - CREDIT_SECONDS - 1e-9
        through.append((now, total))
        now += pause


def test_connections_share_the_card() -> None:
    time = FakeTime()
    card = network("0/10/0", time)
    paces = [card.inbound(1.0) for _ in range(4)]
    start = time.now
    for _ in range(20):
        for pace in paces:
            pace.wait(QUANTUM)
    assert time.now - start == pytest.approx(80 * QUANTUM / 10e6)


def test_the_directions_of_the_card_do_not_share() -> None:
    time = FakeTime()
    card = network("0/10/0", time)
    start = time.now
    for _ in range(20):
        card.inbound(1.0).wait(QUANTUM)
    card.outbound(1.0).wait(QUANTUM // 2)
    assert time.now - start == pytest.approx(20 * QUANTUM / 10e6)


def test_the_first_byte_waits() -> None:
    time = FakeTime()
    start = time.now
    network("53/90/25", time).wait_for_first_byte(1.0)
    assert time.now - start == pytest.approx(0.025)


def test_jitter_depends_on_the_request_not_on_the_order() -> None:
    """Jitter also depends on how often the same request occurred."""
    requests = [get(key) for key in ("a", "b", "c", "a", "b", "a")]

    def drawn(order: Iterable[Request]) -> dict[str, list[float]]:
        jittery = network("53/90/25/20", FakeTime())
        found: dict[str, list[float]] = {}
        for request in order:
            found.setdefault(request.path, []).append(jittery.slowness(request))
        return found

    shuffled = random.Random(1).sample(requests, len(requests))
    assert drawn(requests) == drawn(shuffled)
    assert len({factor for factors in drawn(requests).values() for factor in factors}) == 6


def test_jitter_does_not_depend_on_an_upload_s_random_id() -> None:
    first, second = network("1/1/1/20", FakeTime()), network("1/1/1/20", FakeTime())
    part = "partNumber=1&uploadId="
    assert first.slowness(get("k", f"{part}x")) == second.slowness(get("k", f"{part}y"))


@given(st.integers(0, 99), st.integers())
def test_jitter_stays_within_its_fraction(percent: int, seed: int) -> None:
    jittery = Network(NetworkModel.parse(f"1/1/1/{percent}", seed))
    assert abs(jittery.slowness(get("k")) - 1) <= percent / 100 + 1e-9
