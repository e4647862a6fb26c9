"""How much runs at once: exactly as much as slots and memory allow."""

import threading
from collections.abc import Callable, Coroutine, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from asyncstream import ConfigError, MiB, S3Object, TransferConfig, TransferReport, TransferSession
from asyncstream.engines import EngineName
from asyncstream.ports import TimeLeft, Transport, for_ever
from tests.servers import Bucket, Capability, LabServer, S3Server, content
from tests.servers.base import GUARD_SECONDS

from .fixture_types import Copy, NewSession, Pairs, WrapTransport

pytestmark = pytest.mark.loops

BODY_OPERATIONS = {"PutObject", "UploadPart"}
FILES = [f"file-{number}" for number in range(9)]


class Turnstile:
    """A transport that holds each upload until the expected number is in flight, and a while longer.

    The peak is then what is possible, not a coincidence, and one upload too many would show.
    """

    def __init__(
        self, transport: Transport, sleep: Callable[[float], Coroutine[Any, Any, None]], expected: int
    ) -> None:
        self._transport = transport
        self._sleep = sleep
        self._expected = expected
        self._lock = threading.Lock()
        self._in_flight = 0
        self.peak = 0
        self.stream = transport.stream
        self.slot_bytes = transport.slot_bytes
        self.is_aws = transport.is_aws
        self.close = transport.close
        self.renewals = transport.renewals
        self.renew = transport.renew

    async def call(
        self, operation: str, params: Mapping[str, Any], region: str | None, left: TimeLeft = for_ever
    ) -> dict[str, Any]:
        if operation not in BODY_OPERATIONS:
            return await self._transport.call(operation, params, region, left)
        self._count(1)
        try:
            await self._hold()
            return await self._transport.call(operation, params, region, left)
        finally:
            self._count(-1)

    def _count(self, change: int) -> None:
        with self._lock:
            self._in_flight += change
            self.peak = max(self.peak, self._in_flight)

    async def _hold(self) -> None:
        for _ in range(60_000):  # a guard: at least a minute
            if self.peak >= self._expected:
                break
            await self._sleep(0.001)
        for _ in range(10):
            await self._sleep(0.001)


HeldSession = Callable[[int], tuple[TransferSession, Callable[[], Turnstile]]]
Measured = Callable[..., tuple[TransferReport, Turnstile]]


@pytest.fixture
def held_session(wrap_transport: WrapTransport, new_session: NewSession) -> HeldSession:
    """Return a session whose uploads pass a turnstile, and a function that returns the turnstile."""

    def held_session(expected: int) -> tuple[TransferSession, Callable[[], Turnstile]]:
        turnstiles = []
        session = new_session()

        def wrap(transport: Transport) -> Transport:
            turnstiles.append(Turnstile(transport, session._engine.sleep, expected))
            return turnstiles[-1]

        wrap_transport(wrap)
        return session, lambda: turnstiles[-1]

    return held_session


@pytest.fixture
def measured(held_session: HeldSession) -> Measured:
    """Transfer files through a turnstile; return the report and the turnstile."""

    def measured(
        files: Iterable[tuple[S3Object, S3Object]], expected: int, **settings: Any
    ) -> tuple[TransferReport, Turnstile]:
        session, turnstile = held_session(expected)
        report = session.transfer(files, TransferConfig(part_size=5 * MiB, **settings))
        report.raise_for_failures()
        return report, turnstile()

    return measured


def most(engine: EngineName, slots: int) -> int:
    return 1 if engine == "sequential" else slots


def test_every_slot_has_one_file_in_flight(
    measured: Measured, engine: EngineName, bucket: Bucket, pairs: Pairs
) -> None:
    """The number of files in flight reaches the number of slots and never exceeds it."""
    for key in FILES:
        bucket.put(key, content(1000, key))
    report, turnstile = measured(pairs(*FILES), most(engine, 3), max_concurrency=3)
    assert report.slots == turnstile.peak == most(engine, 3)


def test_the_parts_of_one_file_fill_all_slots(
    measured: Measured, engine: EngineName, bucket: Bucket, pairs: Pairs
) -> None:
    bucket.put("file", content(22 * MiB))
    report, turnstile = measured(pairs("file"), most(engine, 3), max_concurrency=3, multipart=True)
    assert report.files[0].parts == 5
    assert report.slots == turnstile.peak == most(engine, 3)


def test_little_memory_lowers_the_slots(
    measured: Measured, engine: EngineName, new_session: NewSession, bucket: Bucket, pairs: Pairs
) -> None:
    for key in FILES:
        bucket.put(key, content(1000, key))
    slot_bytes = measured(pairs(FILES[0]), 1)[1].slot_bytes
    limit = 3 * slot_bytes - 1
    report, turnstile = measured(pairs(*FILES), most(engine, 2), max_concurrency=10, memory_limit=limit)
    assert report.memory_limit == limit
    assert report.slots == turnstile.peak == most(engine, 2)


def test_too_little_memory_for_a_slot_fails_before_any_request(
    copy: Copy, server: S3Server, bucket: Bucket, pairs: Pairs
) -> None:
    bucket.put("file", b"x")
    with server.counted() as seen, pytest.raises(ConfigError, match="memory_limit of 10000 bytes"):
        copy(pairs("file"), memory_limit=10_000)
    assert seen == {}


@pytest.mark.needs(Capability.COUNTS_CONNECTIONS)
def test_a_second_transfer_of_a_session_opens_no_connection(
    held_session: HeldSession, engine: EngineName, server: LabServer, bucket: Bucket, pairs: Pairs
) -> None:
    """The turnstile makes the first one open every connection: per slot, one for GET and one for PUT."""
    for key in FILES:
        bucket.put(key, content(2 * MiB, key))
    session, _ = held_session(most(engine, 3))
    connections = []
    for _ in range(2):
        server.lab.reset_stats()
        report = session.transfer(pairs(*FILES), TransferConfig(max_concurrency=3))
        report.raise_for_failures()
        connections.append(server.lab.stats()["connections"])
    assert connections == [2 * report.slots, 0]


def test_two_sessions_in_two_threads_do_not_disturb_each_other(
    engine: EngineName, server: S3Server, bucket: Bucket
) -> None:
    for key in FILES:
        bucket.put(key, content(100_000, key))

    def copy_to(prefix: str) -> None:
        files = [(S3Object(bucket.name, key), S3Object(bucket.name, f"{prefix}/{key}")) for key in FILES]
        with TransferSession(engine, endpoint_url=server.endpoint_url) as session:
            both_are_open.wait()
            session.transfer(files, TransferConfig(max_concurrency=3)).raise_for_failures()

    both_are_open = threading.Barrier(2, timeout=GUARD_SECONDS)
    with ThreadPoolExecutor(2) as pool:
        list(pool.map(copy_to, ["one", "two"]))
    for prefix in ("one", "two"):
        assert {key: bucket.get(f"{prefix}/{key}") for key in FILES} == {
            key: content(100_000, key) for key in FILES
        }
