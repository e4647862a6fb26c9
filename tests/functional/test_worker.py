"""`asyncstream worker` and `enqueue` as processes, with queues of an SQS that others wrote."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing
from functools import partial
from pathlib import Path

import pytest
from msgspec.structs import replace

from asyncstream import MiB, S3Object, TransferConfig, TransferSession
from asyncstream.pipeline.run import Step
from asyncstream.pipeline.shared_uploads import OpenTasks
from asyncstream.runs.descriptions import Description, Totals
from asyncstream.runs.outcomes import BatchOutcome
from asyncstream.runs.places import Run
from asyncstream.runs.rows import Row
from asyncstream.runs.run_store import RunStore
from asyncstream.worker.messages import encode_body
from tests.lacking import lacking
from tests.servers import LabServer, S3Server
from tests.servers.base import CREDENTIALS, GUARD_SECONDS, until
from tests.servers.ministack import PYTHON, MiniStackServer
from tests.servers.sqs import TestQueue

ROOT = Path(__file__).parents[2]
RUN = Run.from_uri("s3://runs/run/")
PART = 5 * MiB
COMMAND = [sys.executable, "-m", "asyncstream.cli.main"]

Start = Callable[..., subprocess.Popen[str]]


@pytest.fixture(scope="module")
def ministack(credentials: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    if not PYTHON.is_file():
        lacking("MiniStack is missing: `make .venv/ministack.stamp` installs it")
    server = MiniStackServer()
    server.start(tmp_path_factory.mktemp("ministack"))
    yield server
    server.close_client()
    server.stop()


@pytest.fixture
def queue(running: Callable[[str], S3Server]) -> Iterator[TestQueue]:
    with closing(TestQueue(running("moto"))) as queue:
        yield queue


@pytest.fixture(params=["moto", "MiniStack"])
def either_queue(request: pytest.FixtureRequest) -> Iterator[TestQueue]:
    """A queue of each server."""
    if request.param == "moto":
        yield request.getfixturevalue("queue")
        return
    with closing(TestQueue(request.getfixturevalue("ministack"))) as queue:
        yield queue


def describe(batches: int = 0, **settings: str) -> Description:
    totals = Totals(batches=batches)
    return Description(source="s3://sources/", destination="s3://copies/", settings=settings, totals=totals)


def doubled(chunk: bytes) -> bytes:
    """Transform a file: repeat each chunk."""
    return bytes(chunk) * 2


class Site:
    """A lab S3 with sources, and a run whose batches are written as a plan would."""

    def __init__(self, lab_server: LabServer) -> None:
        self.lab = lab_server.lab
        self.session = TransferSession("sequential", endpoint_url=lab_server.endpoint_url)
        self.store = RunStore(RUN, self.session, TransferConfig)
        self.lab.create_bucket("runs", keep=True)
        self.store.write_json(RUN.description, describe())

    def plan(self, number: int, keys: dict[str, int], *, exist: bool = True) -> str:
        """Write a batch of files of these sizes, and return the body of its message."""
        if exist:
            self.lab.declare("sources", list(keys.items()))
        rows = [Row(f"s3://sources/{key}", f"s3://copies/{key}", size) for key, size in keys.items()]
        self.store.write_rows(RUN.batch(number), rows)
        return encode_body(RUN, number)

    def plan_giant(self, number: int, key: str, parts: int) -> str:
        """Write a batch of all parts of an upload, which another step completes; return its message."""
        self.lab.declare("sources", [(key, parts * PART)])
        pair = (S3Object("sources", key), S3Object("copies", key))
        opening = Step(tasks=partial(OpenTasks, part_length=lambda _: PART))
        report = self.session.transfer_step([pair], TransferConfig(at_deadline="pending"), opening)
        [left] = report.continuations.values()
        source, destination = (place.uri for place in pair)
        row = Row(source, destination, continuation=replace(left, only=(1, parts)))
        self.store.write_rows(RUN.batch(number), [row])
        return encode_body(RUN, number)

    def outcome(self, number: int) -> BatchOutcome:
        outcome = self.store.read_outcome(number)
        assert outcome is not None
        return outcome

    def digests(self, bucket: str) -> dict[str, tuple[int, str | None]]:
        """Return size and checksum of each object."""
        found = self.lab.checksums(bucket).items()
        return {key: (each.size, each.crc64nvme) for key, each in found}

    def parts_sent(self) -> int:
        return int(self.lab.stats()["operations"].get("UploadPart", 0))

    def wait_for_parts(self, count: int, worker: subprocess.Popen[str]) -> None:
        """Wait until S3 has received so many parts in all from a worker that still runs."""

        def are_sent() -> bool:
            assert worker.poll() is None, worker.communicate()
            return self.parts_sent() >= count

        until(are_sent)

    def close(self) -> None:
        self.session.close()


@pytest.fixture
def site(lab_of: Callable[..., LabServer]) -> Iterator[Site]:
    """A lab S3 without a network model, for quick batches."""
    with closing(Site(lab_of("0/0/0"))) as site:
        yield site


@pytest.fixture
def slow_site(lab_of: Callable[..., LabServer]) -> Iterator[Site]:
    """A lab S3 with 5 MB/s for all connections together, for batches that a signal meets."""
    with closing(Site(lab_of("0/5/0", keep=False))) as site:
        yield site


@pytest.fixture
def start(queue: TestQueue) -> Iterator[Start]:
    """Return a function that starts a command with a queue; kill at the end of the test what still runs."""
    started = []

    def start(site: Site, *arguments: str, queue: TestQueue = queue) -> subprocess.Popen[str]:
        environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith("AWS_")},
            **CREDENTIALS,
            "AWS_ENDPOINT_URL_S3": site.lab.endpoint_url,
            "AWS_ENDPOINT_URL_SQS": queue.endpoint_url,
            "ASYNCSTREAM_PART_SIZE": str(PART),
            "ASYNCSTREAM_MULTIPART": "true",
        }
        command = [sys.executable, "-m", "asyncstream.cli.main", *arguments, "--queue", queue.url]
        started.append(
            subprocess.Popen(command, cwd=ROOT, env=environment, stderr=subprocess.PIPE, text=True)
        )
        return started[-1]

    yield start
    for process in started:
        process.kill()
        process.communicate()


def environment_of(site: Site) -> dict[str, str]:
    return {
        **{name: value for name, value in os.environ.items() if not name.startswith("AWS_")},
        **CREDENTIALS,
        "AWS_ENDPOINT_URL_S3": site.lab.endpoint_url,
        "ASYNCSTREAM_PART_SIZE": str(PART),
        "ASYNCSTREAM_MULTIPART": "true",
    }


def run_cli(site: Site, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run a command that needs no queue."""
    return subprocess.run(
        [*COMMAND, *arguments],
        cwd=ROOT,
        env=environment_of(site),
        capture_output=True,
        text=True,
        timeout=GUARD_SECONDS,
        check=False,
    )


def ended(process: subprocess.Popen[str]) -> tuple[int, list[str]]:
    """Wait until a process ends, and return its exit code and what it said."""
    _, said = process.communicate(timeout=GUARD_SECONDS)
    return process.returncode, said.splitlines()


def test_each_batch_is_done_once(site: Site, either_queue: TestQueue, start: Start) -> None:
    for number in range(25):
        site.plan(number, {f"{number:02d}/{name}": 1000 + number for name in "abc"})
    site.store.write_json(RUN.description, describe(25))
    enqueue = start(site, "enqueue", RUN.uri, queue=either_queue)
    assert ended(enqueue) == (0, ["25 batches of s3://runs/run/ are in the queue"])

    workers = [start(site, "worker", "--once", queue=either_queue) for _ in range(3)]

    ends = [ended(worker) for worker in workers]
    assert [code for code, _ in ends] == [0, 0, 0], ends
    lines = sorted(line for _, said in ends for line in said)
    assert [line.partition(": ")[0] for line in lines] == [RUN.batch(number).uri for number in range(25)]
    assert all(": 3 files, " in line and line.endswith(" s, 0 left") for line in lines)
    assert site.digests("copies") == site.digests("sources")
    assert either_queue.counts() == (0, 0)
    assert either_queue.dead() == {}
    assert {number: site.outcome(number).runs for number in range(25)} == (dict.fromkeys(range(25), 1))


def test_a_planned_run_is_moved_by_workers(site: Site, queue: TestQueue, start: Start) -> None:
    """A plan of small files and a giant one, moved by workers of which one is killed, and finished."""
    keys = {f"in/{number:03d}": 100_000 + number for number in range(60)}
    site.lab.declare("sources", [*keys.items(), ("in/giant", 700 * MiB)])
    place = "s3://runs/planned/"
    planning = run_cli(site, "plan", "s3://sources/in/", "s3://copies/in/", place, "--functions", "4")
    assert planning.returncode == 0, planning.stderr
    assert ended(start(site, "enqueue", place))[0] == 0
    killed = start(site, "worker", "--visibility", "3")
    site.wait_for_parts(1, killed)
    killed.kill()
    ended(killed)

    workers = [start(site, "worker") for _ in range(2)]

    # A message that becomes visible again may be in neither of the two counts for a moment.
    until(lambda: queue.counts() == (0, 0) and run_cli(site, "finish", place).returncode == 0)
    for worker in workers:
        worker.send_signal(signal.SIGTERM)
    assert [ended(worker)[0] for worker in workers] == [143, 143]
    assert queue.dead() == {}
    finishing = run_cli(site, "finish", place)
    assert finishing.returncode == 0, finishing.stderr
    assert site.digests("copies") == site.digests("sources")


def test_enqueue_leaves_out_what_is_done(site: Site, queue: TestQueue, start: Start) -> None:
    """And batches that a killed plan has left, and the whole one does not have."""
    for number in range(4):
        site.plan(number, {f"{number}": 10}, exist=number != 1)
    site.store.write_json(RUN.description, describe(3))
    assert ended(start(site, "enqueue", RUN.uri))[0] == 0
    assert ended(start(site, "worker", "--once"))[0] == 1
    assert queue.dead().keys() == {encode_body(RUN, 1)}

    assert ended(start(site, "enqueue", RUN.uri))[1] == ["1 batches of s3://runs/run/ are in the queue"]

    assert queue.bodies() == [encode_body(RUN, 1)]


def test_enqueue_refuses_a_plan_that_is_not_whole(site: Site, start: Start) -> None:
    code, said = ended(start(site, "enqueue", "s3://runs/other/"))
    assert (code, len(said)) == (1, 1), said
    assert "s3://runs/other/run.json" in said[0]


def test_dead_letters_say_why(site: Site, either_queue: TestQueue, start: Start) -> None:
    """Half of a surrogate pair, a control character and a line break are in no attribute of SQS."""
    lost = site.plan(1, {"there": 10, "lost\x01\u2028\n": 10}, exist=False)
    site.lab.declare("sources", [("there", 10)])
    no_batch = encode_body(RUN, 2)
    wrong = json.dumps({"batch": "s3://runs/run/plan/\ud800\n"})
    long = "x" * 200_000
    for body in (lost, no_batch, wrong, long, site.plan(3, {"3": 10})):
        either_queue.send(body)

    code, said = ended(start(site, "worker", "--once", queue=either_queue))

    assert code == 1
    dead = either_queue.dead()
    assert dead.keys() == {lost, no_batch, wrong, long[:20_000]}
    assert dead[lost]["batch"] == RUN.batch(1).uri
    assert dead[lost]["reason"].startswith("1 of 2 rows failed; s3://sources/lost")
    assert "SourceNotFound" in dead[lost]["reason"]
    assert dead[no_batch]["reason"].startswith("SourceNotFound: ")
    assert dead[wrong].keys() == dead[long[:20_000]].keys() == {"reason"}
    assert either_queue.counts() == (0, 0)
    assert len(said) == 6, said  # two batches that were run, and four dead letters
    assert site.outcome(3).left == []


def test_named_dead_letters_come_before_the_policy(
    site: Site, running: Callable[[str], S3Server], start: Start
) -> None:
    with closing(TestQueue(running("moto"), redrive=False)) as queue:
        queue.send("wrong")
        start_worker = partial(start, site, "worker", "--once", "--visibility", "4", queue=queue)
        code, said = ended(start_worker())
        assert code == 1
        assert said[0].startswith("no --dead-letters and no redrive policy")
        assert "stays in the queue" in said[1]
        assert queue.dead() == {}

        ended(start_worker("--dead-letters", queue.dead_letters))
        assert queue.dead().keys() == {"wrong"}


def test_functions_of_unnamed_runs_are_not_called(site: Site, queue: TestQueue, start: Start) -> None:
    """A message may name a run in any bucket. The function would have the permissions of the worker."""
    body = site.plan(1, {"a": 10})
    site.store.write_json(RUN.description, describe(transform="gzip,os:listdir"))
    queue.send(body)
    assert ended(start(site, "worker", "--once"))[0] == 1
    assert "names the function 'os:listdir'" in queue.dead()[body]["reason"]
    assert site.digests("copies") == {}

    site.store.write_json(RUN.description, describe(transform="tests.functional.test_worker:doubled"))
    queue.send(body)
    code, said = ended(start(site, "worker", "--once", "--run", RUN.uri))
    assert code == 0, said
    assert site.digests("copies")["a"][0] == 20


def test_sigterm_ends_a_worker_that_waits(site: Site, queue: TestQueue, start: Start) -> None:
    """The first batch shows that it works. Then it waits for the next one, with a request of 20 s."""
    queue.send(site.plan(1, {"a": 10}))
    process = start(site, "worker")
    assert process.stderr is not None
    assert process.stderr.readline().startswith(RUN.batch(1).uri)
    until(lambda: queue.counts() == (0, 0))
    process.send_signal(signal.SIGTERM)
    assert ended(process) == (143, [])


@pytest.mark.parametrize("engine", ["threads", "asyncio"])
def test_after_sigterm_another_worker_continues(
    slow_site: Site, queue: TestQueue, start: Start, engine: str
) -> None:
    """The message is hidden for an hour, so only the ending worker can have made it visible."""
    queue.send(slow_site.plan(1, {"large": 8 * PART, "small": 10}))
    first = start(slow_site, "worker", "--visibility", "3600", "--engine", engine, "--max-concurrency", "2")
    slow_site.wait_for_parts(2, first)

    first.send_signal(signal.SIGTERM)

    code, said = ended(first)
    assert code == 143, said
    assert said[-1].endswith("visible again, for another worker: the worker ended with 1 rows left")
    left = slow_site.outcome(1)
    assert [row.source for row in left.left] == ["s3://sources/large"]
    assert left.pending == 1
    slow_site.lab.set_model("0/0/0")
    code, said = ended(start(slow_site, "worker", "--once", "--engine", engine))
    assert code == 0, said
    assert slow_site.digests("copies") == slow_site.digests("sources")
    outcome = slow_site.outcome(1)
    assert (outcome.files, outcome.runs, outcome.left) == (2, 2, [])
    # Confirmed parts were not sent again. Those in flight at the signal were.
    assert outcome.bytes == 8 * PART + 10
    assert slow_site.parts_sent() <= 8 + 2
    assert queue.dead() == {}


def test_a_killed_worker_is_replaced(slow_site: Site, queue: TestQueue, start: Start) -> None:
    """Its message becomes visible when its time is over; S3 knows which parts it had sent."""
    queue.send(slow_site.plan_giant(1, "giant", 8))
    first = start(slow_site, "worker", "--visibility", "3", "--max-concurrency", "2")
    slow_site.wait_for_parts(2, first)
    first.kill()
    ended(first)
    sent = slow_site.parts_sent()
    slow_site.lab.set_model("0/0/0")

    second = start(slow_site, "worker")

    until(lambda: slow_site.store.read_outcome(1))
    until(lambda: queue.counts() == (0, 0))
    second.send_signal(signal.SIGTERM)
    assert ended(second)[0] == 143
    outcome = slow_site.outcome(1)
    assert (outcome.runs, outcome.left) == (1, [])
    assert outcome.bytes <= (8 - sent + 2) * PART
    assert slow_site.parts_sent() <= 8 + 2
    assert queue.dead() == {}


def test_a_batch_that_kills_its_workers_is_dead(slow_site: Site, queue: TestQueue, start: Start) -> None:
    body = slow_site.plan(1, {"large": 20 * PART})
    queue.send(body)
    arguments = ("worker", "--visibility", "2", "--max-receives", "2")
    for _ in range(2):
        worker = start(slow_site, *arguments)
        until(lambda: queue.counts() == (0, 1))
        worker.kill()
        ended(worker)
        until(lambda: queue.counts() == (1, 0))

    third = start(slow_site, *arguments)

    dead: dict[str, dict[str, str]] = until(queue.dead)
    third.send_signal(signal.SIGTERM)
    assert ended(third)[0] == 143
    assert dead == {
        body: {
            "batch": RUN.batch(1).uri,
            "reason": "received 3 times with 0 outcomes: it may end its workers",
        }
    }


def test_a_long_batch_keeps_its_message(slow_site: Site, queue: TestQueue, start: Start) -> None:
    """The second worker asks all the time, and the batch takes several times as long as the visibility."""
    queue.send(slow_site.plan(1, {"large": 8 * PART}))
    workers = [start(slow_site, "worker", "--visibility", "2") for _ in range(2)]
    until(lambda: slow_site.store.read_outcome(1))
    until(lambda: queue.counts() == (0, 0))
    for worker in workers:
        worker.send_signal(signal.SIGTERM)
    said = [line for worker in workers for line in ended(worker)[1]]
    assert len(said) == 1, said
    assert slow_site.outcome(1).runs == 1
