"""The lab's web: its answers follow from the seed, and its counts match the requests."""

import http.client
import json
import statistics
from collections import Counter
from contextlib import closing
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asyncstream.lab.web import Answer, LabWeb, Origin, WebModel, least_seconds, rows_of_page
from asyncstream.lab.web.model import FAULTS
from asyncstream.lab.web.server import Asked
from tests.servers.base import GUARD_SECONDS


def asked(number: int, nth: int = 1, **headers: str) -> Asked:
    return Asked("127.0.0.1", f"/pages/{number}", {}, headers, nth)


def get(origin: str, path: str, **headers: str) -> tuple[int, bytes, Any]:
    with closing(
        http.client.HTTPConnection(origin.removeprefix("http://"), timeout=GUARD_SECONDS)
    ) as connection:
        connection.request("GET", path, headers=headers)
        reply = connection.getresponse()
        return reply.status, reply.read(), reply.headers


def test_a_seed_sets_how_long_each_page_takes() -> None:
    """Runs with the same seed take the same time, runs with another seed a different one."""
    first, again, other = (WebModel(latency=0.2, seed=seed) for seed in (1, 1, 2))
    seconds = [first.seconds(number) for number in range(100)]
    assert seconds == [again.seconds(number) for number in range(100)]
    assert seconds != [other.seconds(number) for number in range(100)]


def test_the_pages_take_the_mean_with_a_long_tail() -> None:
    seconds = [WebModel(latency=0.2).seconds(number) for number in range(5000)]
    assert statistics.fmean(seconds) == pytest.approx(0.2, rel=0.03)
    assert statistics.median(seconds) < 0.19
    assert max(seconds) > 0.8


def test_a_model_can_have_the_mean_of_some_pages_just_so() -> None:
    model = WebModel.averaging(0.2, 7, 1.0, 3)
    assert statistics.fmean(model.seconds(number) for number in range(7)) == pytest.approx(0.2)
    assert WebModel.averaging(0.0, 7, 1.0, 3).seconds(1) == 0


@given(st.lists(st.floats(0, 100), min_size=1, max_size=50), st.integers(1, 60))
def test_a_schedule_of_pages_is_as_short_as_its_slots_allow(seconds: list[float], at_once: int) -> None:
    least = least_seconds(seconds, at_once)
    # Graham's bounds of list scheduling.
    mean, slowest = sum(seconds) / at_once, max(seconds)
    assert max(mean, slowest) <= least * (1 + 1e-9) + 1e-9
    assert least <= mean + slowest + 1e-9


def test_pages_begin_in_their_order_as_soon_as_one_is_through() -> None:
    assert least_seconds([1.0, 3.0, 2.0, 2.0], 2) == 5.0
    assert least_seconds([1.0, 3.0, 2.0, 2.0], 1) == 8.0
    assert least_seconds([1.0, 3.0, 2.0, 2.0], 60) == 3.0


def test_so_many_pages_are_faulty_and_in_every_way() -> None:
    faults = Counter(WebModel(faults=0.05).fault(number) for number in range(5000))
    assert faults.total() - faults[""] == pytest.approx(250, rel=0.15)
    assert set(faults) == {"", *FAULTS}


def test_no_page_is_faulty_or_slow_unless_asked_for() -> None:
    model = WebModel()
    assert {(model.fault(number), model.seconds(number)) for number in range(1000)} == {("", 0.0)}


def test_the_rows_of_all_pages_have_keys_of_their_own() -> None:
    keys = [row["id"] for number in range(100) for row in rows_of_page(number, 7)]
    assert len(set(keys)) == len(keys) == 700


def test_a_page_known_already_is_not_sent_again() -> None:
    model = WebModel()
    etag = model.answer(asked(3)).headers["ETag"]
    assert model.answer(asked(3, 1, **{"if-none-match": etag})).status == 304
    assert model.answer(asked(4, 1, **{"if-none-match": etag})).status == 200


@pytest.mark.parametrize("path", ["/", "/pages/", "/pages/x", "/pages/-1", "/pages/1/2", "/other"])
def test_there_are_no_other_pages(path: str) -> None:
    assert WebModel().answer(Asked("127.0.0.1", path, {}, {}, 1)).status == 404


@pytest.mark.parametrize("wrong", [{"latency": -1}, {"faults": 1.5}, {"sigma": -1}, {"rows": -1}])
def test_a_model_of_nonsense_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="negative"):
        WebModel(**wrong)


def test_the_process_serves_and_counts_pages_of_all_hosts() -> None:
    with LabWeb(WebModel(rows=3), hosts=4) as web:
        for number, url in enumerate(web.urls(8)):
            origin, _, path = url.partition("/pages")
            status, body, _ = get(origin, f"/pages{path}")
            assert (status, json.loads(body)) == (200, rows_of_page(number, 3))
        counts = web.counts()
        web.reset()
        after_reset = web.counts()
    hosts = [f"127.0.0.{number}" for number in range(1, 5)]
    assert counts["requests"] == counts["connections"] == dict.fromkeys(hosts, 2)
    assert after_reset["requests"] == after_reset["connections"] == {}


def test_an_origin_counts_the_most_connections_open_at_once() -> None:
    with Origin(lambda _: Answer.of(b"x")) as origin:
        open_ones = [
            http.client.HTTPConnection("127.0.0.1", origin.port, timeout=GUARD_SECONDS) for _ in range(3)
        ]
        for connection in open_ones:
            connection.request("GET", "/")
            connection.getresponse().read()
        for connection in open_ones:
            connection.close()
        get(origin.urls[0], "/")
        assert origin.counts()["max_at_once"] == {"127.0.0.1": 3}
        assert origin.counts()["connections"] == {"127.0.0.1": 4}
