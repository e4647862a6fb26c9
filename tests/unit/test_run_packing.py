"""Batches have every file once, stay under their targets, and need little memory to make."""

from collections.abc import Callable, Iterable
from itertools import pairwise

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from asyncstream.errors import InputError
from asyncstream.objects import MAX_PARTS
from asyncstream.pipeline.continuation import Continuation
from asyncstream.pipeline.plan import MAX_OBJECT, MAX_PART, MIN_PART
from asyncstream.runs.batching import (
    BATCHES_PER_FUNCTION,
    LONGEST_TARGET,
    MOST_BYTES,
    MOST_ROWS,
    SMALLEST_TARGET,
    Batch,
    Packer,
    PackerState,
)
from asyncstream.runs.costs import GUESSED_BYTES, Cost, Speeds
from asyncstream.runs.rows import Row, encode_rows
from asyncstream.units import MB

TB = 1000 * 1000 * MB
SPEEDS = Speeds()
# Sizes of all magnitudes, unknown ones, and giants.
SIZES = st.one_of(
    st.none(),
    st.integers(0, 100_000),
    st.integers(0, 100 * MB),
    st.integers(0, 3000 * MB),
    st.integers(0, 100_000 * MB),
)
LISTS = st.lists(SIZES, max_size=60)
FUNCTIONS = st.sampled_from([1, 3, 40, 1000])


def row(number: int, size: int | None) -> Row:
    return Row(f"s3://raw/{number:08d}", f"s3://clean/{number:08d}", size, '"etag"')


def pack(packer: Packer, one: Row) -> list[Batch]:
    """Pack a row as a planner does: the upload of a giant is created in between."""
    giant = packer.cut(one.size)
    if giant is None:
        return packer.add(one)
    parts = giant.parts
    upload = Continuation(
        upload_id="upload", etag=one.etag, size=parts.size, first=parts.first, step=parts.step
    )
    return packer.add_ranges(msgspec.structs.replace(one, continuation=upload), giant)


def pack_all(packer: Packer, sizes: Iterable[int | None], start: int = 0) -> list[Batch]:
    return [batch for number, size in enumerate(sizes, start) for batch in pack(packer, row(number, size))]


def parts_of(batches: Iterable[Batch]) -> dict[str, list[tuple[int, int]]]:
    """Return the ranges of parts of each giant, in the order of their numbers."""
    found: dict[str, list[tuple[int, int]]] = {}
    for each in (each for batch in batches for each in batch.rows):
        if each.continuation is not None:
            assert each.continuation.only is not None
            found.setdefault(each.source, []).append(each.continuation.only)
    return {source: sorted(ranges) for source, ranges in found.items()}


@given(LISTS, FUNCTIONS)
def test_every_file_is_in_one_batch(sizes: list[int | None], functions: int) -> None:
    packer = Packer(SPEEDS, functions)
    batches = pack_all(packer, sizes) + packer.close()

    whole = [each.source for batch in batches for each in batch.rows if each.continuation is None]
    assert len(whole) == len(set(whole))
    assert {*whole, *parts_of(batches)} == {row(number, None).source for number in range(len(sizes))}
    assert packer.close() == []


@given(LISTS, FUNCTIONS)
def test_the_ranges_of_a_giant_have_each_part_once(sizes: list[int | None], functions: int) -> None:
    packer = Packer(SPEEDS, functions)
    batches = pack_all(packer, sizes) + packer.close()

    giants = {each.source: each.continuation for batch in batches for each in batch.rows if each.continuation}
    for source, ranges in parts_of(batches).items():
        assert ranges[0][0] == 1
        assert all(before[1] + 1 == after[0] for before, after in pairwise(ranges))
        assert ranges[-1][1] == giants[source].part_plan.planned


@given(LISTS, FUNCTIONS)
def test_only_a_single_row_takes_longer_than_its_target(sizes: list[int | None], functions: int) -> None:
    packer = Packer(SPEEDS, functions)
    for batch in pack_all(packer, sizes) + packer.close():
        assert SMALLEST_TARGET <= batch.target <= LONGEST_TARGET
        assert batch.seconds == pytest.approx(SPEEDS.seconds(batch.cost))
        assert len(batch.rows) == 1 or batch.seconds <= batch.target


@given(LISTS, FUNCTIONS, st.integers(0, 60), st.floats(0, 1))
def test_a_packer_continues_from_its_saved_state(
    sizes: list[int | None], functions: int, pause: int, share: float
) -> None:
    """The state goes through JSON after `pause` rows."""
    through, first = Packer(SPEEDS, functions), Packer(SPEEDS, functions)
    through.note_share(share)
    first.note_share(share)
    expected = pack_all(through, sizes) + through.close()

    batches = pack_all(first, sizes[:pause])
    saved = msgspec.json.decode(msgspec.json.encode(first.state), type=PackerState)
    second = Packer(SPEEDS, functions, saved)
    batches += pack_all(second, sizes[pause:], min(pause, len(sizes))) + second.close()

    assert batches == expected
    assert second.state == through.state


@given(st.integers(1, MAX_OBJECT), FUNCTIONS)
@settings(max_examples=300)
def test_a_giant_is_cut_within_the_limits_of_s3(size: int, functions: int) -> None:
    giant = Packer(SPEEDS, functions).cut(size)
    if giant is None:
        assert SPEEDS.seconds(SPEEDS.file_cost(size)) <= LONGEST_TARGET / 2
        return
    assert SPEEDS.seconds(SPEEDS.file_cost(size)) > LONGEST_TARGET / 2
    assert giant.parts.planned <= MAX_PARTS
    assert MIN_PART <= giant.parts.step <= MAX_PART
    assert giant.parts.first == giant.parts.step


def test_an_object_over_the_limit_of_s3_is_refused() -> None:
    with pytest.raises(InputError, match="over S3's limit"):
        Packer(SPEEDS, 10).cut(MAX_OBJECT + 1)


def test_a_range_of_parts_takes_about_the_target() -> None:
    """5 TB at 74 MB/s are 67,568 s; four ranges for each of 500 functions take 34 s."""
    giant = Packer(SPEEDS, 500).cut(5 * TB)
    assert giant is not None

    first, last = giant.ranges[0]
    seconds = SPEEDS.seconds(SPEEDS.range_cost(giant.parts.range(first, last).length, last - first + 1))
    assert 0.8 * 34 < seconds <= 34
    assert len(giant.ranges) >= BATCHES_PER_FUNCTION * 500


def test_the_parts_of_a_range_fill_all_slots() -> None:
    """A file of 100 GB has four parts for each slot in every full range."""
    giant = Packer(SPEEDS, 10).cut(100_000 * MB)
    assert giant is not None
    assert all(last - first + 1 >= 3 * SPEEDS.slots for first, last in giant.ranges[:-1])


def test_parts_of_the_largest_object_still_fill_the_card() -> None:
    """Parts of 5 GB take longer than any target. Two at once fill a card of 74 MB/s, one would not."""
    giant = Packer(SPEEDS, 1000).cut(MAX_OBJECT)
    assert giant is not None
    assert giant.parts.planned == MAX_PARTS
    assert {last - first + 1 for first, last in giant.ranges} == {2}


def test_the_rest_of_a_giant_shares_a_batch_with_files() -> None:
    packer = Packer(SPEEDS, 1)
    packer.note_share(0.01)
    batches = pack_all(packer, [10_000 * MB, 1000, 1000])
    rest = packer.close()

    assert [len(batch.rows) for batch in batches] == [1, 1]
    assert [each.source for each in rest[0].rows] == [row(at, 0).source for at in range(3)]


def test_a_full_range_does_not_close_the_open_batch() -> None:
    packer = Packer(SPEEDS, 1)
    batches = pack_all(packer, [1000, 1_000_000 * MB, 1000])

    assert all(each.continuation for batch in batches for each in batch.rows)
    assert len(packer.state.rows) >= 2


def test_a_file_that_does_not_fit_goes_out_if_it_is_fuller() -> None:
    """Otherwise batches would be half empty where small files follow large ones."""
    packer = Packer(SPEEDS, 1000)
    small, large = pack_all(packer, [400 * MB]), pack_all(packer, [500 * MB], 1)

    assert small == []
    assert [each.source for batch in large for each in batch.rows] == [row(1, 0).source]
    assert [each.source for each in packer.state.rows] == [row(0, 0).source]


def test_rows_keep_the_order_of_their_source() -> None:
    packer = Packer(SPEEDS, 1)
    pack_all(packer, [10, 30 * MB, 20, 20 * MB])
    (batch,) = packer.close()
    assert [each.size for each in batch.rows] == [10, 30 * MB, 20, 20 * MB]


def test_the_last_batches_of_a_known_total_are_small() -> None:
    """Ten functions: 30,000 s are batches of a minute, but the last 20 s for each are not."""
    packer, sizes = Packer(SPEEDS, 10), [100 * MB] * 22_200
    batches = []
    for at, size in enumerate(sizes):
        packer.note_share(at / len(sizes))
        batches += pack(packer, row(at, size))
    batches += packer.close()

    targets = [batch.target for batch in batches]
    assert max(targets) == LONGEST_TARGET
    assert targets[-10:] == [SMALLEST_TARGET] * 10
    assert targets[targets.index(LONGEST_TARGET) :] == sorted(
        targets[targets.index(LONGEST_TARGET) :], reverse=True
    )


def test_targets_grow_with_what_was_seen() -> None:
    batches = pack_all(Packer(SPEEDS, 10), [100 * MB] * 4000)
    targets = [batch.target for batch in batches]

    assert targets == sorted(targets)
    assert targets[0] == SMALLEST_TARGET
    assert targets[-1] == LONGEST_TARGET


def test_a_known_share_sets_the_target_in_advance() -> None:
    """After a page of 100 s, a hundredth of the source: 10,000 s, of which 50 functions take 200 each."""
    packer = Packer(SPEEDS, 50)
    pack_all(packer, [100 * MB] * 74)
    packer.close()
    packer.note_share(0.01)
    pack(packer, row(0, 100 * MB))

    assert packer.state.target == pytest.approx(50, rel=0.05)


def test_each_function_gets_at_least_four_batches() -> None:
    """Once the share is known."""
    packer = Packer(SPEEDS, 20)
    packer.note_share(1e-9)
    sizes, batches = [100 * MB] * 3000, 0
    for at, size in enumerate(sizes):
        batches += len(pack(packer, row(at, size)))
        packer.note_share((at + 1) / len(sizes))
    assert batches + len(packer.close()) >= BATCHES_PER_FUNCTION * 20


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        pytest.param("{:08d}", MOST_ROWS, id="rows"),
        pytest.param("{:0900d}", MOST_BYTES // 1900, id="bytes"),
    ],
)
def test_a_batch_has_limits_beside_its_target(name: str, expected: int) -> None:
    free = Speeds(first_byte=0, cpu_file=0, cpu_gb=0)
    packer = Packer(free, 1)
    batches = [
        batch
        for at in range(MOST_ROWS + 1)
        for batch in packer.add(Row(f"s3://raw/{name.format(at)}", f"s3://clean/{name.format(at)}", 0))
    ]

    assert batches
    assert len(batches[0].rows) == pytest.approx(expected, rel=0.05)
    assert len(encode_rows(batches[0].rows)) <= MOST_BYTES


def test_a_packer_holds_one_batch_at_most() -> None:
    """Its state has as many rows after a hundred thousand files as after ten thousand."""
    packer = Packer(SPEEDS, 10)
    packer.note_share(1e-9)
    most = [0, 0]
    for half, count in enumerate((10_000, 100_000)):
        for at in range(count):
            packer.add(row(at, 20_000))
            most[half] = max(most[half], len(packer.state.rows))
    assert most[0] == most[1] < MOST_ROWS
    assert len(msgspec.json.encode(packer.state)) < MOST_BYTES


def test_files_of_unknown_size_count_as_the_guess() -> None:
    packer = Packer(SPEEDS, 1)
    assert packer.cut(None) is None
    packer.add(row(0, None))
    assert packer.totals.bytes == GUESSED_BYTES
    assert packer.state.cost == SPEEDS.file_cost(GUESSED_BYTES)


def test_slices_and_lines_are_rows_with_a_cost() -> None:
    packer = Packer(SPEEDS, 1)
    packer.count_entries(1000, 50 * MB, 7 * MB, gets=18)
    packer.add(row(0, 10 * TB), SPEEDS.archive_cost(1000, 50 * MB))
    (batch,) = packer.close()

    assert batch.cost == SPEEDS.archive_cost(1000, 50 * MB)
    assert (packer.totals.files, packer.totals.bytes, packer.totals.largest) == (1000, 50 * MB, 7 * MB)


@given(LISTS, FUNCTIONS)
def test_totals_are_those_of_the_batches(sizes: list[int | None], functions: int) -> None:
    packer = Packer(SPEEDS, functions)
    batches = pack_all(packer, sizes) + packer.close()
    totals = packer.totals

    assert totals.files == len(sizes) == totals.puts + totals.uploads
    assert totals.bytes == sum(GUESSED_BYTES if size is None else size for size in sizes)
    assert totals.batches == len(batches)
    assert totals.seconds == pytest.approx(sum(batch.seconds for batch in batches))
    assert totals.cost.card == pytest.approx(sum(batch.cost.card for batch in batches))
    assert totals.giants == len(parts_of(batches))
    assert totals.gets == totals.puts + totals.parts
    assert sum(count for count, _ in totals.pace) == totals.batches
    assert sum(seconds for _, seconds in totals.pace) == pytest.approx(totals.seconds)
    assert totals.longest == max((batch.seconds for batch in batches), default=0)


def _no_upload(packer: Packer) -> None:
    giant = packer.cut(1_000_000 * MB)
    assert giant is not None
    packer.add_ranges(row(0, 1_000_000 * MB), giant)


@pytest.mark.parametrize(
    ("mistake", "message"),
    [(_no_upload, "has no upload"), (lambda _: Packer(SPEEDS, 0), "functions=0")],
)
def test_mistakes_of_a_planner_are_refused(mistake: Callable[[Packer], object], message: str) -> None:
    with pytest.raises(InputError, match=message):
        mistake(Packer(SPEEDS, 1))


def test_a_cost_is_an_array_in_json() -> None:
    assert msgspec.json.encode(Cost(1, 2, 3, 4)) == b"[1,2,3,4]"
