"""An estimate is close to a simulated run, which shares no formula with it."""

import random
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import pytest
from msgspec.structs import replace

from asyncstream.errors import ConfigError, InputError
from asyncstream.pipeline.continuation import Continuation
from asyncstream.prices import PriceTable, load
from asyncstream.runs.batching import Batch, Packer
from asyncstream.runs.costs import Speeds
from asyncstream.runs.descriptions import Totals
from asyncstream.runs.estimating import Estimate, estimate, render, requests_of, seconds_of
from asyncstream.runs.rows import Row
from asyncstream.runs.unzipping import Entries
from asyncstream.units import MB
from tests.simulated_run import Entry, Machine, Simulated, Step, Task, run_tasks, simulate

FUNCTIONS = 8
SPEEDS = Speeds()
PRICES = load()

# A function without chance, in round numbers.
PLAIN = Machine(memory_mb=1769, slots=2, stream=10.0, card=15.0, sigma=0.0, first_byte=1.0, byte_cpu=0.0)


class Found(NamedTuple):
    """A file of a source: its size, or the entries of an archive."""

    size: int
    entries: Sequence[Entry] = ()


def uniform(chance: random.Random) -> list[Found]:
    return [Found(chance.randrange(200 * MB)) for _ in range(1500)]


def heavy_tail(chance: random.Random) -> list[Found]:
    """Half of the files have under 3 MB; the largest are giants."""
    return [Found(int(chance.lognormvariate(15, 2.2))) for _ in range(4000)]


def one_giant(chance: random.Random) -> list[Found]:
    small = [Found(chance.randrange(20 * MB)) for _ in range(1500)]
    return [*small, Found(200_000 * MB)]


def all_tiny(chance: random.Random) -> list[Found]:
    return [Found(chance.randrange(20_000)) for _ in range(30_000)]


def with_archives(chance: random.Random) -> list[Found]:
    """A third of the rows are slices of archives with 500 deflated entries each."""
    files = [Found(int(chance.lognormvariate(15, 2))) for _ in range(1000)]
    for at in range(0, 1000, 10):
        decoded = [int(chance.lognormvariate(11, 1.5)) for _ in range(500)]
        files[at] = Found(sum(decoded) // 3, [Entry(each // 3, each) for each in decoded])
    return files


def plan(files: Sequence[Found], functions: int = FUNCTIONS) -> tuple[list[Batch], Totals]:
    """Pack files as a planner does, telling the share after each page of 100."""
    packer = Packer(SPEEDS, functions)
    batches: list[Batch] = []
    for at, file in enumerate(files):
        batches += _pack(packer, at, file)
        if at % 100 == 99:
            packer.note_share((at + 1) / len(files))
    return batches + packer.close(), packer.totals


def _pack(packer: Packer, at: int, file: Found) -> list[Batch]:
    row = Row(f"s3://raw/{at:06d}", f"s3://clean/{at:06d}", file.size, '"etag"')
    if file.entries:
        sizes = [entry.decoded for entry in file.entries]
        packer.count_entries(len(sizes), sum(sizes), max(sizes), gets=-(-len(sizes) // 64))
        cost = SPEEDS.archive_cost(len(sizes), sum(sizes), file.size, max(sizes))
        return packer.add(replace(row, entries=Entries()), cost)
    giant = packer.cut(file.size)
    if giant is None:
        return packer.add(row)
    parts = giant.parts
    upload = Continuation(
        upload_id="upload", etag=row.etag, size=parts.size, first=parts.first, step=parts.step
    )
    return packer.add_ranges(replace(row, continuation=upload), giant)


def run(files: Sequence[Found], seed: int = 0, sample: int = 1) -> tuple[Estimate, Simulated]:
    batches, totals = plan(files)
    contents = {f"s3://raw/{at:06d}": file.entries for at, file in enumerate(files) if file.entries}
    return (
        estimate(totals, FUNCTIONS, SPEEDS, PRICES),
        simulate(batches, FUNCTIONS, PRICES, contents=contents, seed=seed, sample=sample),
    )


@pytest.mark.parametrize("sizes", [uniform, heavy_tail, one_giant, all_tiny, with_archives])
def test_an_estimate_is_close_to_the_simulated_run(
    sizes: Callable[[random.Random], list[Found]],
) -> None:
    """Minutes within 15 %, dollars within 5 %, requests within 1 %."""
    found, simulated = run(sizes(random.Random(1)))

    seconds = found.seconds
    running = seconds.total - seconds.plan - seconds.finish
    assert running == pytest.approx(simulated.seconds, rel=0.15)
    assert found.dollars.total == pytest.approx(simulated.usd, rel=0.05)
    for operation in ("GetObject", "UploadPart"):
        assert found.requests.get(operation, 0) == pytest.approx(
            simulated.requests.get(operation, 0), rel=0.01
        )
    # The plan writes as many batches, and two objects of its own.
    puts = simulated.requests["PutObject"] + found.batches + 2
    assert found.requests["PutObject"] == puts
    assert found.transitions - simulated.transitions < 10


def test_a_sample_of_the_batches_tells_nearly_as_much() -> None:
    files = heavy_tail(random.Random(2))
    _, exact = run(files)
    _, sampled = run(files, sample=4)

    assert sampled.exact < exact.exact / 3
    assert sampled.seconds == pytest.approx(exact.seconds, rel=0.1)


def test_a_simulation_repeats_itself() -> None:
    files = uniform(random.Random(3))[:100]
    assert run(files) == run(files)
    assert run(files)[1] != run(files, seed=1)[1]


def test_refused_requests_cost_time_and_requests() -> None:
    batches, _ = plan(uniform(random.Random(4))[:200])
    calm = simulate(batches, FUNCTIONS, PRICES)
    busy = simulate(batches, FUNCTIONS, PRICES, Machine(throttled=0.2))

    assert busy.requests["GetObject"] > 1.1 * calm.requests["GetObject"]
    assert sum(busy.batch_seconds) > sum(calm.batch_seconds)


def moving(*lengths: float) -> list[Task]:
    return [in_order(("move", length)) for length in lengths]


def in_order(*steps: Step) -> Task:
    return iter(steps)


@pytest.mark.parametrize(
    ("tasks", "seconds"),
    [
        pytest.param(moving(100), 10.0, id="one connection has its rate"),
        pytest.param(moving(75, 75), 10.0, id="two share the card"),
        pytest.param(moving(75, 150), 10.0 + 75 / 10, id="the rest has the rate of one"),
        pytest.param(moving(75, 75, 100), 20.0, id="a third waits for a slot"),
        pytest.param([in_order(("wait", 3), ("move", 10), ("wait", 1))], 5.0, id="steps follow each other"),
        pytest.param([in_order(("cpu", 2)), in_order(("cpu", 2))], 4.0, id="two share the CPU"),
        pytest.param([in_order(("cpu", 2)), in_order(("wait", 4))], 4.0, id="waiting takes no CPU"),
    ],
)
def test_the_simulation_is_right_where_hands_can_check(tasks: list[Task], seconds: float) -> None:
    assert run_tasks(PLAIN, iter(tasks)) == pytest.approx(seconds)


def test_bytes_and_requests_share_the_cpu_fairly() -> None:
    """A byte takes 0.1 CPU seconds: alone 10 bytes/s; beside a computation 5, for the 2 s that it takes."""
    machine = PLAIN._replace(byte_cpu=0.1)
    tasks = [in_order(("move", 40)), in_order(("cpu", 1))]
    assert run_tasks(machine, iter(tasks)) == pytest.approx(2 + 30 / 10)


TOTALS = Totals(
    files=1000,
    bytes=10**12,
    largest=10**9,
    batches=100,
    seconds=6000.0,
    puts=1000,
    gets=1000,
    pace=[(100, 6000.0)],
)


def test_batches_that_do_not_divide_leave_functions_idle() -> None:
    """100 batches of a minute on 30 functions: three each, and a fourth for ten of them."""
    seconds = seconds_of(TOTALS, 30, SPEEDS)
    assert seconds.moving == pytest.approx(200)
    assert seconds.moving + seconds.tail == pytest.approx(240, rel=0.01)


def test_more_functions_than_batches_do_not_help() -> None:
    assert seconds_of(TOTALS, 100, SPEEDS) == seconds_of(TOTALS, 1000, SPEEDS)


def test_lambda_starts_a_thousand_functions_at_once() -> None:
    """The last thousand of 3,000 functions starts after 20 s, the mean one after 10 s."""
    many = replace(TOTALS, batches=6000, seconds=360_000.0, pace=[(6000, 360_000.0)])
    early, late = seconds_of(many, 1000, SPEEDS), seconds_of(many, 3000, SPEEDS)

    assert late.start - early.start == pytest.approx(10)


def test_requests_are_those_of_files_batches_and_plan() -> None:
    totals = replace(TOTALS, uploads=2, giants=1, parts=2500, ranges=20, gets=3498, source_lists=7)
    assert requests_of(totals) == {
        "GetObject": 3498 + 4 * 100,
        "PutObject": 1000 + 2 * 100 + 2,
        "CreateMultipartUpload": 2,
        "UploadPart": 2500,
        "CompleteMultipartUpload": 2,
        "ListParts": 20 + 1 + 2,
        "ListObjectsV2": 7 + 1,
    }


def test_dollars_are_priced_by_part() -> None:
    prices = PriceTable("2000-01-01", "nowhere", "us-east-1", {"arm64": 2.0}, 1e6, 1000.0, 10.0, 1000.0)
    dollars = estimate(TOTALS, 10, Speeds(memory_mb=1024), prices).dollars

    assert dollars.requests == pytest.approx((1000 + 202 + 1) * 1 + 1400 * 0.01)
    assert dollars.invocations == 102
    assert dollars.transitions == 3 * 100 + 8
    assert dollars.compute == pytest.approx(2 * 6000, rel=0.02)
    assert dollars.total == sum([dollars.requests, dollars.compute, dollars.invocations, dollars.transitions])


def test_an_empty_plan_costs_its_first_and_last_step() -> None:
    found = estimate(Totals(), 10, SPEEDS, PRICES)
    assert found.requests == {"PutObject": 2}
    assert found.seconds.moving == found.seconds.tail == 0


def test_no_functions_and_old_price_tables_are_refused() -> None:
    with pytest.raises(InputError, match="functions=0"):
        estimate(TOTALS, 0, SPEEDS, PRICES)
    with pytest.raises(ConfigError, match="thousand_transitions"):
        estimate(TOTALS, 1, SPEEDS, replace(PRICES, thousand_transitions=None))


def lines_of(text: str) -> Iterator[tuple[str, str]]:
    for line in text.splitlines():
        name, _, rest = line.strip().partition("  ")
        yield name, rest.strip()


def test_an_estimate_is_shown_in_plain_words() -> None:
    totals = replace(TOTALS, left_out={"older_version": 5}, giants=1, uploads=1, parts=10)
    text = render(estimate(totals, 30, SPEEDS, PRICES))
    shown = dict(lines_of(text))

    assert shown["files"] == "1,000 of 1 TB, the largest 1 GB"
    assert shown["batches"] == "100 for 30 functions of 512 MB"
    assert shown["cut files"] == "1, which many functions copy together"
    assert shown["left out"] == "5 older version"
    assert shown["GetObject"] == "1,400"
    assert shown["prices"] == "2026-11-22, us-east-1"
    assert shown["time"].endswith(" minutes")
    assert shown["cost"].endswith(" USD")


def test_a_time_under_a_minute_is_shown_in_seconds() -> None:
    found = estimate(Totals(files=1, batches=1, puts=1, gets=1, pace=[(1, 1.0)]), 1, SPEEDS, PRICES)
    shown = dict(lines_of(render(found)))

    assert shown["time"] == f"{found.seconds.total:.1f} seconds"
    assert shown["start"] == f"{found.seconds.start:.1f}"


def test_figures_of_the_parts_end_in_one_column() -> None:
    text = render(estimate(TOTALS, 30, SPEEDS, PRICES))
    assert len({len(line) for line in text.splitlines() if line.startswith("  ")}) == 1


def test_parts_of_a_file_move_at_once() -> None:
    """The limit is the card's 74 MB/s, and not the connection's 53."""
    speeds = Speeds(part_bytes=100 * MB)
    row = Row("s3://raw/a", "s3://clean/a", 1000 * MB)
    packer = Packer(speeds, 1)
    (batch,) = packer.add(row) + packer.close()
    simulated = simulate([batch], 1, PRICES, Machine(sigma=0, part=100 * MB))

    assert simulated.requests["UploadPart"] == packer.totals.parts == 10
    assert simulated.batch_seconds[0] == pytest.approx(batch.seconds, rel=0.05)
    assert batch.seconds == pytest.approx(1000 / 74, rel=0.05)
