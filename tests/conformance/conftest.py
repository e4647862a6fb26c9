"""One suite for every engine and every server: two fixtures make each test run nine times."""

import asyncio
import os
import ssl
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any, TypeVar

import pytest
import trustme

from asyncstream import (
    BytesMoved,
    Event,
    KiB,
    MiB,
    S3Access,
    S3Object,
    S3Prefix,
    TarEntries,
    TransferConfig,
    TransferReport,
    TransferSession,
)
from asyncstream.engines import ENGINES, EngineName
from asyncstream.engines.keeping import close_all_kept
from asyncstream.errors import AsyncstreamError
from asyncstream.lab.s3 import Fault as LabFault
from asyncstream.lab.s3 import LabS3
from asyncstream.lab.web import Answer, Origin
from asyncstream.lab.web.server import Asked
from asyncstream.pipeline import clients
from asyncstream.pipeline.progress import OnEvent, ignore
from asyncstream.pipeline.run import NO_CONTINUATIONS
from asyncstream.ports import Transport
from asyncstream.s3.settings import ClientSettings
from asyncstream.transforms import Spec
from asyncstream.web import FetchConfig
from tests.conftest import ON_UVLOOP
from tests.fault_table import FaultRecord
from tests.lacking import lacking
from tests.servers import Bucket, LabServer, S3Server
from tests.servers.base import CREDENTIALS, PATIENCE
from tests.servers.blocking_page import page
from tests.servers.listener import CONTINUE, RawReply, Scripted
from tests.servers.ministack import PYTHON, MiniStackServer
from tests.servers.odd_s3 import PART, OddS3

from .aws_settings import SECRET, AwsSettings, Fail
from .clocks import Clock
from .faulty_transport import Fault, FaultyTransport
from .fixture_types import (
    Copy,
    Keep,
    NewSession,
    NothingIsLeft,
    Pack,
    Pairs,
    Serve,
    Served,
    StopAfter,
    Untar,
    UntilItStalls,
    WrapTransport,
)

T = TypeVar("T")

# Small, so that short files already have several chunks and parts, and tests are quick.
SETTINGS = {
    "chunk_size": 64 * KiB,
    "part_size": 5 * MiB,
    "retry_base_delay": 0.001,
    "retry_max_delay": 0.001,
    "stall_timeout": 15.0,  # a busy machine may be silent for long
}


def engine_key(engine: str) -> tuple[str, object]:
    """Return the key of what tests keep of an engine: its name and its event loop."""
    return engine, asyncio.new_event_loop


@pytest.fixture
def fault_table(record_property: Callable[[str, object], None]) -> FaultRecord:
    """Return the recorder for the outcome of a test's fault."""
    return FaultRecord(record_property)


@pytest.fixture(params=[*ENGINES, ON_UVLOOP])
def engine(request: pytest.FixtureRequest) -> Iterator[str]:
    """Each engine in turn, and asyncio a second time on uvloop; see `pytest_configure` for where."""
    if request.param != ON_UVLOOP:
        yield request.param
        return
    import uvloop  # noqa: PLC0415 - without uvloop these cells are deselected

    close_all_kept()  # on the other loop
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(asyncio, "new_event_loop", uvloop.new_event_loop)
        yield "asyncio"
        close_all_kept()


@pytest.fixture(scope="module")
def ministack(credentials: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    """A server that is not among those of `server`, because it starts slowly and few tests need it."""
    if not PYTHON.is_file():
        lacking("MiniStack is missing: `make .venv/ministack.stamp` installs it")
    server = MiniStackServer()
    server.start(tmp_path_factory.mktemp("ministack"))
    yield server
    server.close_client()
    server.stop()


@pytest.fixture
def other_bucket(server: S3Server) -> Iterator[Bucket]:
    other = server.new_bucket()
    yield other
    other.empty()


@pytest.fixture(scope="session")
def kept_sessions() -> Iterator[dict[Any, TransferSession]]:
    """Sessions that many tests share: making new clients would take most of the suite's time."""
    sessions: dict[Any, TransferSession] = {}
    yield sessions
    for kept in sessions.values():
        kept.close()


@pytest.fixture
def copy(engine: EngineName, server: S3Server, kept_sessions: dict[Any, TransferSession]) -> Copy:
    """Transfer files with this engine, to and from this server."""

    def copy(
        files: Any,
        on_event: OnEvent = ignore,
        continuations: Any = NO_CONTINUATIONS,
        transform: Spec | None = None,
        web: FetchConfig | None = None,
        **settings: Any,
    ) -> TransferReport:
        config = TransferConfig(**SETTINGS | settings)
        # Clients depend on these settings: a session would make new clients for others.
        patience = (config.stall_timeout, config.reply_timeout, config.complete_timeout)
        which = (*engine_key(engine), server.name, config.max_concurrency, config.chunk_size, *patience)
        if which not in kept_sessions:
            kept_sessions[which] = TransferSession(engine, endpoint_url=server.endpoint_url)
        session = kept_sessions[which]
        return session.transfer(files, config, on_event, continuations, transform, web=web)

    return copy


@pytest.fixture
def put(bucket: Bucket) -> Callable[[Mapping[str, bytes]], None]:
    """Store files under `in/`."""

    def put(files: Mapping[str, bytes]) -> None:
        for name, body in files.items():
            bucket.put(f"in/{name}", body)

    return put


@pytest.fixture(scope="session")
def kept_files() -> dict[Any, S3Prefix]:
    """Files that many tests pack: storing them would take most of the time of these tests."""
    return {}


@pytest.fixture
def keep(server: S3Server, kept_files: dict[Any, S3Prefix]) -> Keep:
    """Store files for all tests, and return their prefix."""

    def keep(files: Mapping[str, bytes]) -> S3Prefix:
        which = server.name, tuple(files), sum(map(len, files.values()))
        if which not in kept_files:
            kept = server.new_bucket()
            for name, body in files.items():
                kept.put(f"in/{name}", body)
            kept_files[which] = S3Prefix(kept.name, "in/")
        return kept_files[which]

    return keep


@pytest.fixture
def pack(copy: Copy, bucket: Bucket, keep: Keep) -> Pack:
    """Pack files, or what is stored under `in/`, into the object `out`."""

    def pack(
        into: Callable[[S3Object], Any],
        on_event: OnEvent = ignore,
        files: Mapping[str, bytes] | None = None,
        **options: Any,
    ) -> TransferReport:
        members = S3Prefix(bucket.name, "in/") if files is None else keep(files)
        return copy([(members, into(S3Object(bucket.name, "out")))], on_event, **options)

    return pack


@pytest.fixture
def new_session(engine: EngineName, server: S3Server) -> Iterator[NewSession]:
    """Open a session for one test; it closes with the test."""
    with ExitStack() as stack:
        yield lambda: stack.enter_context(TransferSession(engine, endpoint_url=server.endpoint_url))


@pytest.fixture
def wrap_transport(monkeypatch: pytest.MonkeyPatch) -> WrapTransport:
    """Wrap the transport of every session that opens from now on."""
    original: Any = vars(clients)["open_transport"]

    def wrap(wrapper: Callable[[Transport], Transport]) -> None:
        async def open_wrapped(*args: Any) -> Transport:
            return wrapper(await original(*args))

        monkeypatch.setattr(clients, "open_transport", open_wrapped)

    return wrap


@pytest.fixture
def copy_with_faults(
    wrap_transport: WrapTransport,
    engine: EngineName,
    server: S3Server,
    kept_sessions: dict[Any, TransferSession],
) -> Copy:
    """Like `copy`, with requests that fail as the faults say."""

    def copy(files: Any, *faults: Fault, on_event: OnEvent = ignore, **settings: Any) -> TransferReport:
        FaultyTransport.faults = faults
        wrap_transport(FaultyTransport)
        config = TransferConfig(**SETTINGS | settings)
        which = (*engine_key(engine), server.name, config.max_concurrency, "faulty")
        if which not in kept_sessions:
            kept_sessions[which] = TransferSession(engine, endpoint_url=server.endpoint_url)
        report = kept_sessions[which].transfer(files, config, on_event)
        if faults:
            # A client may notice a connection broken by a fault only at the next copy.
            kept_sessions.pop(which).close()
        return report

    return copy


@pytest.fixture
def pairs(bucket: Bucket) -> Pairs:
    """Return sources with the given names, each with its destination under `copies/`."""

    def pairs(*names: str) -> list[tuple[S3Object, S3Object]]:
        return [(S3Object(bucket.name, name), S3Object(bucket.name, f"copies/{name}")) for name in names]

    return pairs


@pytest.fixture
def lab(server: S3Server) -> Iterator[LabS3]:
    """The lab S3 behind `server`; its faults are reset after the test."""
    assert isinstance(server, LabServer)
    yield server.lab
    server.lab.set_faults([])


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """The clock that transfers read."""
    clock = Clock()
    monkeypatch.setattr(clients, "time", clock)
    return clock


@pytest.fixture
def untar(copy: Copy, bucket: Bucket) -> Untar:
    """Put an archive into the bucket, and unpack it under `copies/`."""

    def untar(archive: bytes, on_event: Any = ignore, **options: Any) -> TransferReport:
        bucket.put("archive", archive)
        selection = {"select": options.pop("select")} if "select" in options else {}
        entries = TarEntries(S3Object(bucket.name, "archive"), **selection)
        return copy([(entries, S3Prefix(bucket.name, "copies/"))], on_event, **options)

    return untar


@pytest.fixture
def stop_after(copy: Copy, monkeypatch: pytest.MonkeyPatch) -> StopAfter:
    """Transfer a file in parts until so many bytes were moved; then its time is just up."""

    def run(pair: Any, size: int, **options: Any) -> TransferReport:
        moved = 0
        clock = Clock()

        def on_event(event: Event) -> None:
            nonlocal moved
            moved += event.bytes if isinstance(event, BytesMoved) else 0
            clock.now = 50.1 if moved >= size else 0.0

        with monkeypatch.context() as patch:
            patch.setattr(clients, "time", clock)
            ending: dict[str, Any] = {"deadline": 50.0, "at_deadline": "pending", "max_concurrency": 1}
            return copy([pair], on_event, multipart=True, **ending, **options)

    return run


@pytest.fixture
def until_it_stalls(lab: LabS3, monkeypatch: pytest.MonkeyPatch) -> UntilItStalls:
    """Run stalling transfers with longer and longer deadlines, until one reaches the fault.

    Clients wait longer than the suite's guard before they report a stall, so only the deadline ends a wait.
    """
    monkeypatch.setattr(
        clients,
        "ClientSettings",
        lambda *given: ClientSettings(given[0], given[1], given[2], 200.0, 200.0, 200.0),
    )

    def run(fault: LabFault, transfer: Callable[[float], T]) -> T:
        for deadline in PATIENCE:
            lab.set_faults([fault])
            report = transfer(deadline)
            struck = lab.faults_struck()
            lab.set_faults([])
            if struck != [0]:
                return report
        pytest.fail("the fault never struck")

    return run


@pytest.fixture
def nothing_is_left(bucket: Bucket) -> NothingIsLeft:
    """Check that neither destinations nor uploads exist, except the destinations in `kept`."""

    def check(kept: Sequence[str] = ()) -> None:
        assert bucket.keys("copies/") == {f"copies/{name}" for name in kept}
        assert bucket.uploads() == []

    return check


@pytest.fixture
def run(engine: EngineName, credentials: None) -> Iterator[Callable[..., TransferReport]]:
    """Transfer from an `OddS3`: one object, or the objects that it lists, in parts of 5 MiB."""
    servers: list[Scripted] = []

    def run(
        odd: OddS3, *, listed: bool = False, interim: RawReply = CONTINUE, **settings: Any
    ) -> TransferReport:
        servers.append(Scripted(odd, interim))
        files = (S3Prefix("raw", ""), S3Prefix("clean", ""))
        pair = files if listed else (S3Object("raw", "a"), S3Object("clean", "b"))
        usual: dict[str, Any] = {
            "retry_base_delay": 0.001,
            "max_concurrency": 1,
            "part_size": PART,
            "verify": "off",
        }
        config = TransferConfig(**usual | settings)
        with TransferSession(engine, endpoint_url=servers[-1].url) as session:
            return session.transfer([pair], config)

    yield run
    for server in servers:
        server.close()


@pytest.fixture
def aws(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AwsSettings:
    """Set up the SDKs by variables and files of this test only."""
    for name in [*os.environ]:
        if name.startswith("AWS_") or name.lower().endswith("_proxy"):
            monkeypatch.delenv(name)
    for name, value in CREDENTIALS.items():
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("REQUESTS_CA_BUNDLE", raising=False)
    return AwsSettings(tmp_path, monkeypatch)


@pytest.fixture
def blocked() -> Iterator[Scripted]:
    """An S3 that answers every request with a page of 403, as a proxy that blocks it does."""
    with Scripted(lambda head: page("403 Forbidden", head)) as server:
        yield server


@pytest.fixture
def fail(engine: EngineName, aws: AwsSettings, blocked: Scripted) -> Fail:
    """Copy one object; return the error of the session or of the file, after a single try."""

    def fail(
        access: Mapping[str, str] | None = None,
        bucket: str = "raw",
        endpoint: str | None = None,
        tries: int = 1,
        **settings: Any,
    ) -> AsyncstreamError:
        own = S3Access(endpoint_url=endpoint or blocked.url).override(access or {})
        config = TransferConfig(retry_base_delay=0.001, **settings)
        pair = (S3Object(bucket, "a"), S3Object("clean", "b"))
        try:
            with TransferSession(engine, source=own, destination=own) as session:
                report = session.transfer([pair], config)
        except AsyncstreamError as error:
            found: BaseException = error
        else:
            assert sum(report.requests.values()) == tries
            [file] = report.failed
            assert file.error is not None
            found = file.error
        assert isinstance(found, AsyncstreamError)
        assert SECRET not in f"{found!r}{found}"
        return found

    return fail


@pytest.fixture
def serve(request: pytest.FixtureRequest) -> Serve:
    """Start an origin with answers by path: an Answer, or a function that makes one from the request."""

    def serve(
        answers: Mapping[str, Served] | None = None,
        hosts: int = 1,
        tls: ssl.SSLContext | None = None,
        **by_name: Served,
    ) -> Origin:
        table = {**(answers or {}), **{f"/{name}": answer for name, answer in by_name.items()}}

        def answer(asked: Asked) -> Answer:
            found = table.get(asked.path, Answer.of(b"no such page", 404))
            return found(asked) if callable(found) else found

        origin = Origin(answer, hosts, tls)
        request.addfinalizer(origin.close)
        return origin

    return serve


@pytest.fixture
def authority(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> trustme.CA:
    authority = trustme.CA()
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "ca.pem"))
    return authority
