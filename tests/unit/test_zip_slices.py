"""Slices of a ZIP archive's directory: any of them together have what the whole has."""

import io
import pickle
import struct
import zipfile
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from asyncstream.archives.zip_entries import Entry
from asyncstream.archives.zip_listing import Listing
from asyncstream.archives.zip_windows import Windows, _Kept
from asyncstream.engines.driver import drive
from asyncstream.errors import CorruptInput, InputError
from asyncstream.locations import Lines, LocalFile, S3Object, S3Prefix, ZipEntries, ZipEntry, ZipSlice
from asyncstream.locations.archives import format_rows, parse_rows
from asyncstream.objects import ByteRange, ListedObject
from asyncstream.pipeline.jobs import Jobs
from asyncstream.pipeline.results import FileResult, FileResults, TransferReport
from tests.zip_listings import ETAG, WHOLE, in_order, listed, packed
from tests.zip_packing import Row, pack_rows

_NAME = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1, max_size=9)
NAMES = st.lists(_NAME, max_size=20, unique_by=lambda name: name.lstrip("./").replace("\\", "/"))
SLICE = ZipSlice(ETAG, 1_000, 2_000, 10, 20, 1_000)
KEYS = [f"{number:04d}.csv" for number in range(2_500)]


def entries(listing: Listing) -> dict[str, Entry]:
    """Return what is known of each file of a listing, by name, without what it shares with neighbours."""
    found: dict[str, Entry] = {}
    for position in range(len(listing)):
        file = listing[position]
        assert file.row is not None
        entry = listing.entry(file.row)
        assert entry is not None
        assert (entry.key, entry.size) == (file.key, file.size)
        found[file.key] = msgspec.structs.replace(entry, window=None, sharing=0)
    assert len(found) == len(listing)
    return found


@given(NAMES, st.integers(1, 8), st.integers(1, 200), st.sampled_from(["*", "*a*"]))
def test_slices_have_the_entries_of_the_whole(names: list[str], size: int, chunk: int, select: str) -> None:
    archive, asked = packed(names), ZipEntries(LocalFile("a.zip"), select)
    whole = listed(archive, asked)
    shares = listed(archive, asked, block=size, chunk=chunk).shares()
    parts = [listed(archive, share.entries, chunk=chunk) for share in shares]
    found = [entries(part) for part in parts]
    assert {name: entry for each in found for name, entry in each.items()} == entries(whole)
    assert sum(map(len, found)) == len(whole)
    assert sum(part.total for part in parts) == whole.total
    assert all(found)
    assert [(share.files, share.bytes) for share in shares] == [(len(part), part.total) for part in parts]
    packed_sizes = [sum(entry.compressed_size for entry in each.values()) for each in found]
    assert [share.packed for share in shares] == packed_sizes


@given(NAMES, st.integers(1, 8), st.data())
def test_a_directory_in_another_order_is_sliced(names: list[str], size: int, data: st.DataObject) -> None:
    """The range of an entry then ends before the next one of the slice, or a little after its data."""
    archive = packed(names)
    whole = entries(listed(archive))
    with zipfile.ZipFile(io.BytesIO(archive)) as read:
        order = data.draw(st.permutations(range(len(read.infolist()))))
    shuffled = in_order(archive, order)
    assert {name: entry.range for name, entry in entries(listed(shuffled)).items()} == {
        name: entry.range for name, entry in whole.items()
    }
    for each in listed(shuffled, block=size).slices():
        for name, entry in entries(listed(shuffled, each)).items():
            assert entry.range.start == whole[name].range.start
            assert whole[name].range.stop <= entry.range.stop <= listed(archive).found.end


@given(NAMES, st.integers(1, 4), st.data())
def test_the_rest_has_the_pending_entries(names: list[str], block: int, data: st.DataObject) -> None:
    """Also the rest of a rest."""
    archive = packed(names)
    listing = listed(archive, block=block)
    for _ in range(3):
        count = len(listing)
        pending = bytes(data.draw(st.lists(st.integers(0, 1), min_size=count, max_size=count)))
        wanted = {listing[position].key for position in range(count) if pending[position]}
        rest = listing.rest(pending)
        if rest is None:
            assert not wanted
            return
        again = msgspec.json.decode(msgspec.json.encode(rest.slice), type=ZipSlice)
        listing = listed(archive, ZipEntries(WHOLE.archive, slice=again), block=block)
        assert set(entries(listing)) == wanted


@given(st.sets(st.integers(0, 60)))
def test_rows_are_written_as_they_are_read(rows: set[int]) -> None:
    text = format_rows([range(row, row + 1) for row in sorted(rows)])
    assert [row for each in parse_rows(text) for row in each] == sorted(rows)
    assert format_rows(parse_rows(text)) == text


def test_rows_are_short() -> None:
    assert format_rows([range(7, 8), range(90, 1000), range(1000, 2000)]) == "7,90-1999"


@pytest.mark.parametrize("text", ["x", "1-", "-1", "3-2", "2,1", "1,1", "1-5,5", "1, 2", "1,", "٣", "9" * 16])
def test_rows_that_are_none_are_refused(text: str) -> None:
    with pytest.raises(InputError, match="rows"):
        parse_rows(text)


@pytest.mark.parametrize(
    "change",
    [
        {"etag": 'a\r\nHost: x"'},
        {"start": -1},
        {"stop": 999},
        {"count": 0},
        {"count": 1_001},
        {"end": 1 << 64},
        {"rows": "9-12"},
        {"rows": "30"},
    ],
)
def test_a_slice_that_contradicts_itself_is_refused(change: dict[str, Any]) -> None:
    with pytest.raises(InputError, match="slice"):
        msgspec.structs.replace(SLICE, **change)


def test_a_slice_of_a_thousand_rows_has_160_bytes() -> None:
    """Here the last of a million rows, behind a terabyte of data that was uploaded in parts."""
    last = ZipSlice(ETAG, 10**12, 10**12 + 80_000, 999_000, 1_000, 10**12)
    assert len(msgspec.json.encode(last)) <= 160
    assert len(msgspec.json.encode(listed(packed(KEYS)).slices()[0].slice)) <= 160


def test_the_rest_of_many_is_short() -> None:
    listing = listed(packed(KEYS))
    rest = listing.rest(bytes(700) + bytes([1]) * 1_800)
    assert rest is not None
    assert rest.slice is not None
    assert rest.slice.count == 2_500
    assert len(rest.slice.rows) < 300
    later = listing.rest(bytes(1_000) + bytes([1]) * 1_500)
    assert later is not None
    assert later.slice is not None
    assert (later.slice.first, later.slice.count, later.slice.rows) == (1_000, 1_500, "")


def test_other_rows_than_a_slice_says_are_damage() -> None:
    archive = packed(["a", "b", "c"])
    found = listed(archive).slices()[0].slice
    assert found is not None
    with pytest.raises(CorruptInput, match="has 3 entries, and its record says 2"):
        listed(archive, ZipEntries(WHOLE.archive, slice=msgspec.structs.replace(found, count=2)))
    with pytest.raises(CorruptInput, match="ends within a row"):
        listed(archive, ZipEntries(WHOLE.archive, slice=msgspec.structs.replace(found, stop=found.stop - 1)))


@pytest.mark.parametrize("order", [[0, 1, 2], [2, 0, 1]])
def test_one_header_for_two_rows_is_an_overlap(order: list[int]) -> None:
    archive = bytearray(packed(["a", "b", "c"]))
    row = archive.rindex(b"PK\x01\x02")
    archive[row + 42 : row + 46] = archive[row - 47 + 42 : row - 47 + 46]
    with pytest.raises(CorruptInput, match="overlaps the next"):
        listed(in_order(bytes(archive), order))


def test_a_position_beyond_every_archive_is_damage() -> None:
    row = struct.pack("<2HQ", 1, 8, (1 << 64) - 1)
    archive = bytearray(packed(["a", "b"]))
    at = archive.rindex(b"PK\x01\x02")
    struct.pack_into("<H", archive, at + 30, len(row))
    struct.pack_into("<I", archive, at + 42, 0xFFFFFFFF)
    archive[at + 47 : at + 47] = row
    end = archive.rindex(b"PK\x05\x06")
    struct.pack_into("<I", archive, end + 12, struct.unpack_from("<I", archive, end + 12)[0] + len(row))
    for order in ([0, 1], [1, 0]):
        with pytest.raises(CorruptInput, match="overlaps the next"):
            listed(in_order(bytes(archive), order))


def test_entries_of_one_name_are_refused_unless_one_is_named() -> None:
    archive = packed(["x_1", "x_2", "y"]).replace(b"x_2", b"x_1")
    with pytest.raises(InputError, match="two entries have the name 'x_1'"):
        listed(archive, block=1)
    listing = listed(archive, block=1, by_name=True)
    assert [len(listing.named(name)) for name in ("x_1", "y", "z")] == [2, 1, 0]
    assert listing.named("y")[0].key == "y"


def test_entries_take_little_memory() -> None:
    assert listed(packed(KEYS)).held < 45 * len(KEYS)
    with pytest.raises(InputError, match="more memory"):
        listed(packed(KEYS), block=100, room=20 * len(KEYS))


def test_neighbours_are_apart_in_the_order() -> None:
    """The first ten are of ten windows, so that as many slots each read another one."""
    listing = listed(packed(KEYS[:1_000]))
    first = [listing.entry(listing[position].row or 0) for position in range(10)]
    assert len({entry.window for entry in first if entry is not None and entry.window is not None}) == 10


class Ranges:
    """Counts the ranges that are read, as their bytes arrive at once."""

    def __init__(self) -> None:
        self.read: list[ByteRange] = []

    async def open(self, range_: ByteRange) -> Any:
        self.read.append(range_)
        return _Kept(memoryview(bytes(range_.length)))


@pytest.mark.parametrize("every", [1, 30])
def test_each_window_is_read_once_and_few_are_kept(every: int) -> None:
    """Also if files are skipped, so that a window is not read to its end."""
    listing, ranges, windows = listed(packed(KEYS)), Ranges(), Windows()
    most = 0
    for position in range(0, len(listing), every):
        entry = listing.entry(listing[position].row or 0)
        assert entry is not None
        stream = drive(windows.open(entry, ranges.open))
        assert len(drive(stream.read())) == entry.range.length
        most = max(most, len(vars(windows)["_kept"]))
    assert 10 <= most <= 24
    if every == 1:
        assert not vars(windows)["_kept"]
        assert len(ranges.read) == len(set(ranges.read)) <= len(KEYS) / 40


def jobs_of_an_archive() -> tuple[Jobs, Listing]:
    listing = listed(packed(["a", "b", "c", "d/"]))
    target = S3Prefix("clean", "out/")
    jobs = Jobs([(S3Object("raw", "x"), S3Object("other", "x")), (WHOLE, target), (S3Prefix("raw"), target)])
    jobs.add(0)
    jobs.add_listing(1, listing)
    jobs.add_listed(2, ListedObject("y", 5, '"y"'))
    return jobs, listing


def test_entries_are_files_between_others() -> None:
    jobs, listing = jobs_of_an_archive()
    assert [job.destination.uri for job in jobs] == [
        *("s3://other/x", "s3://clean/out/a", "s3://clean/out/b", "s3://clean/out/c", "s3://clean/out/y")
    ]
    assert [job.size for job in jobs] == [None, 3, 3, 3, 5]
    assert jobs[-2].source == ZipEntry(WHOLE.archive, "c")
    assert (len(jobs), jobs.listed, jobs.bytes, jobs.largest) == (5, 4, 14, 5)
    assert jobs.held > listing.held
    assert jobs.listed_keys(4) == {"y"}
    with pytest.raises(IndexError):
        jobs[5]


def test_a_report_may_not_be_written_over_an_entry_or_the_archive() -> None:
    archive = S3Object("raw", "a.zip")
    jobs = Jobs([(ZipEntries(archive), S3Prefix("clean", "out/"))])
    jobs.add_listing(0, listed(packed(["a"])))
    jobs.check_apart(S3Object("clean", "out/b"))
    for place in (S3Object("clean", "out/a"), archive):
        with pytest.raises(InputError, match="name another"):
            jobs.check_apart(place)


def test_a_report_says_what_is_unfinished() -> None:
    jobs, _ = jobs_of_an_archive()
    results = FileResults(jobs)
    for position, status in enumerate(("pending", "copied", "pending", "pending", "failed")):
        file = FileResult(jobs[position].source, jobs[position].destination, status)  # type: ignore[arg-type]
        results.put(position, file)
    report = TransferReport("threads", results, 1.0, 1, 1, {})
    for each in (report, pickle.loads(pickle.dumps(report))):
        plain, rest = each.unfinished
        assert plain == (S3Object("raw", "x"), S3Object("other", "x"))
        assert rest[1] == S3Prefix("clean", "out/")
        assert rest[0].slice.rows == "1-2"
        assert (rest[0].archive, rest[0].slice.etag) == (WHOLE.archive, ETAG)
        assert each.pending[1].source == ZipEntry(WHOLE.archive, "b")


def test_ranges_of_lines_are_unfinished_together() -> None:
    lines, folder = Lines(S3Object("raw", "x")), S3Prefix("clean", "out/")
    jobs = Jobs([(lines, folder)])
    for name in ("part-00000", "part-00001", "part-00002"):
        jobs.add_listed(0, ListedObject(name, 5, '"x"'))
    left = Lines(S3Object("raw", "x"), only="1-2")
    assert list(jobs.pairs_of(bytes([0, 1, 1]))) == [(left, folder, range(1, 3))]


def test_results_alone_say_what_is_unfinished() -> None:
    done = FileResult(S3Object("raw", "x"), S3Object("clean", "x"), "copied")
    left = FileResult(S3Object("raw", "y"), S3Object("clean", "y"), "pending")
    assert FileResults.of([done, left]).unfinished() == [(left.source, left.destination)]


def test_rows_of_megabytes_are_refused() -> None:
    """They would be kept until their block of a thousand rows is complete."""
    archive = pack_rows(
        [Row(f"{n:04d}", extra=struct.pack("<2H", 0x7777, 60_000) + bytes(60_000)) for n in range(100)]
    )
    with pytest.raises(InputError, match="no program writes such"):
        listed(archive)
