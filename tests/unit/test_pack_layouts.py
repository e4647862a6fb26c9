"""Any range of a pack is the slice of the whole, and directories of large archives say what is there."""

import io
import math
import tarfile
import zipfile
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from asyncstream.archives import pack_reader
from asyncstream.archives.pack_layout import ConcatLayout, Layout
from asyncstream.archives.pack_members import PackMembers
from asyncstream.archives.pack_reader import PackReader
from asyncstream.archives.pack_source import _PackStream
from asyncstream.archives.tar_layout import TarLayout
from asyncstream.archives.zip_directory import TAIL, find_directory
from asyncstream.archives.zip_layout import ZipLayout
from asyncstream.archives.zip_scan import Area, Scan
from asyncstream.checksum import CRC64NVME, Checksum, Digests
from asyncstream.deadline import NO_DEADLINE
from asyncstream.engines.driver import drive
from asyncstream.errors import Cancelled, ChecksumMismatch, NothingYet, TruncatedBody
from asyncstream.locations import LocalFile, S3Object, ZipEntries
from asyncstream.objects import ByteRange, Stored
from asyncstream.ports import Opened, Source
from asyncstream.retry import Retrying, RetryPolicy
from asyncstream.units import GiB
from tests.zip_listings import read_rows

SMALL = 30
_LETTERS = st.characters(exclude_categories=["Cs", "Cc"], exclude_characters="/\\:.")
NAMES = st.text(_LETTERS, min_size=1, max_size=120)
FILES = st.dictionaries(NAMES, st.binary(max_size=3 * SMALL), min_size=1, max_size=6)
LAYOUTS: dict[str, Callable[[PackMembers], Layout]] = {
    "tar": TarLayout,
    "zip": ZipLayout,
    "concat": lambda members: ConcatLayout(members, b"--"),
    "lines": lambda members: ConcatLayout(members, b"", line_end=b"\n"),
}
of_any_kind = pytest.mark.parametrize("kind", LAYOUTS)
# The fixture sets the same for each example.
several = settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)


class Stream:
    """Chunks of seven bytes. After the first one, nothing is there yet."""

    def __init__(self, content: bytes) -> None:
        self._chunks = [content[at : at + 7] for at in range(0, len(content), 7)]
        self._is_late = True

    async def read(self) -> bytes:
        if self._is_late and len(self._chunks) == 1:
            self._is_late = False
            raise NothingYet("later")
        return self._chunks.pop(0) if self._chunks else b""

    async def close(self) -> None:
        self._chunks = []


class Stores(Source[Any, Any]):
    """Objects in memory, which S3 has checksums of."""

    slot_bytes = 1

    def __init__(self, files: Sequence[bytes], kind: str = CRC64NVME) -> None:
        self.files = list(files)
        self.gets: list[ByteRange | None] = []
        self._checksums: list[Checksum | None] = [_checksum(kind, body) for body in files]

    async def open(
        self, source: Any, range_: ByteRange | None, etag: str | None, if_none_match: str | None = None
    ) -> Opened:
        at = int(source.key)
        self.gets.append(range_)
        body = self.files[at]
        found = range_ or ByteRange(0, len(body))
        checksum = self._checksums[at] if range_ is None else None
        stream = Stream(body[found.start : found.stop])
        return Opened(len(body), "e", found, {}, stream, checksum=checksum)

    async def head(self, source: Any, etag: str | None) -> Stored:
        at = int(source.key)
        return Stored(len(self.files[at]), "e", self._checksums[at])


def _checksum(kind: str, body: bytes) -> Checksum:
    digests = Digests([kind])
    digests.update(body)
    return digests.checksums()[kind]


def members_of(names: Sequence[str], sizes: Sequence[int]) -> PackMembers:
    members = PackMembers(lambda at: S3Object("bucket", str(at)), lambda at: names[int(at)])
    for position, size in enumerate(sizes):
        members.add(position, size, "e", 1_700_000_000)
    return members


def lay_out(kind: str, names: Sequence[str], files: Sequence[bytes]) -> Layout:
    members = members_of(names, [len(body) for body in files])
    for position, body in enumerate(files):
        members.cut(position, 0, len(body), ends_line=body.endswith(b"\n"))
    return LAYOUTS[kind](members)


async def _no_sleep(_: float) -> None:
    raise AssertionError("nothing fails here")


def read(layout: Layout, stores: Stores, start: int, stop: int) -> bytes:
    async def read() -> bytes:
        retrying = Retrying(RetryPolicy(max_attempts=1), NO_DEADLINE, _no_sleep)
        reader = PackReader(layout, lambda _: stores, retrying, verify=True)
        await reader.prepare(ByteRange(start, stop), lambda: None)
        async with aclosing(reader.read(ByteRange(start, stop))) as chunks:
            return b"".join([bytes(chunk) async for chunk in chunks])

    return drive(read())


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Members are small, or not, by few bytes."""
    monkeypatch.setattr(pack_reader, "SMALL_MEMBER", SMALL)
    monkeypatch.setattr(pack_reader, "SMALL_ZIP_MEMBER", SMALL)


@of_any_kind
@given(FILES, st.data())
@several
def test_any_range_is_the_slice_of_the_whole(kind: str, files: dict[str, bytes], data: st.DataObject) -> None:
    names, bodies = list(files), list(files.values())
    whole = read(layout := lay_out(kind, names, bodies), Stores(bodies), 0, layout.size)
    assert len(whole) == layout.size
    match kind:
        case "tar":
            with tarfile.open(fileobj=io.BytesIO(whole)) as tar:
                assert {each.name: tar.extractfile(each).read() for each in tar} == files  # type: ignore[union-attr]
        case "zip":
            with zipfile.ZipFile(io.BytesIO(whole)) as archive:
                assert {name: archive.read(name) for name in archive.namelist()} == files
        case "concat":
            assert whole == b"--".join(bodies)
        case _:
            ended = [body if body.endswith(b"\n") or not body else body + b"\n" for body in bodies]
            assert whole == b"".join(ended)
    # In a process of its own, and one that knows what earlier ranges have shown; in any order.
    cuts = sorted({0, layout.size, *data.draw(st.lists(st.integers(0, layout.size), max_size=5))})
    ranges = data.draw(st.permutations(list(pairwise(cuts))))
    again = lay_out(kind, names, bodies)
    for start, stop in ranges:
        assert read(again, Stores(bodies), start, stop) == whole[start:stop]
        assert read(lay_out(kind, names, bodies), Stores(bodies), start, stop) == whole[start:stop]


@of_any_kind
@given(st.data(), st.sampled_from([CRC64NVME, "CRC32"]))
@several
def test_a_changed_byte_never_passes(kind: str, data: st.DataObject, checksum: str) -> None:
    """One of the parts that a pack is read in fails: the last that has a piece of the member."""
    files = [bytes(size) for size in data.draw(st.lists(st.integers(1, 200), min_size=1, max_size=4))]
    stores = Stores(files, checksum)
    at = data.draw(st.integers(0, len(files) - 1))
    changed = bytearray(files[at])
    changed[data.draw(st.integers(0, len(changed) - 1))] ^= 1
    stores.files[at] = bytes(changed)
    layout = lay_out(kind, [str(position) for position in range(len(files))], files)
    cuts = sorted({0, layout.size, *data.draw(st.lists(st.integers(0, layout.size), max_size=4))})
    ranges = data.draw(st.permutations(list(pairwise(cuts))))

    def read_all() -> None:
        for start, stop in ranges:
            read(layout, stores, start, stop)

    with pytest.raises(ChecksumMismatch, match=f"s3://bucket/{at} have the "):
        read_all()


def test_after_a_mismatch_all_is_compared_again() -> None:
    """The piece that was wrong is read again, and the whole is right."""
    body = bytes(range(200))
    stores = Stores([b"?" + body[1:]])
    stores._checksums = [_checksum(CRC64NVME, body)]
    layout = lay_out("zip", ["a"], [body])
    middle = layout.size // 2
    with pytest.raises(ChecksumMismatch):
        read(layout, stores, 0, middle), read(layout, stores, middle, layout.size)
    stores.files = [body]
    whole = read(layout, stores, 0, middle) + read(layout, stores, middle, layout.size)
    assert zipfile.ZipFile(io.BytesIO(whole)).read("a") == body


def test_what_precedes_an_error_is_read_once() -> None:
    """The next connection goes on after the bytes that were handed on."""

    async def chunks() -> AsyncGenerator[bytes, None]:
        yield b"ab"
        yield b"c"
        raise TruncatedBody("it broke")

    async def read() -> bytes:
        stream = _PackStream(chunks())
        first = bytes(await stream.read())
        with pytest.raises(TruncatedBody):
            await stream.read()
        return first

    assert drive(read()) == b"abc"


def test_a_member_that_ends_early_is_truncated() -> None:
    stores = Stores([bytes(100)])
    stores.files = [bytes(99)]
    with pytest.raises(TruncatedBody, match=r"s3://bucket/0 ended 1 bytes before its end"):
        read(lay_out("tar", ["a"], [bytes(100)]), stores, 0, 700)


def test_the_pass_for_crc32s_stops_if_asked() -> None:
    """It may read gigabytes before an upload starts."""
    stores = Stores([bytes(500), bytes(500)])
    stores._checksums = [None, None]
    layout = lay_out("zip", ["a", "b"], stores.files)
    chunks: list[None] = []

    def check() -> None:
        chunks.append(None)
        if len(chunks) > 5:
            raise Cancelled("stopped")

    retrying = Retrying(RetryPolicy(max_attempts=1), NO_DEADLINE, _no_sleep)
    reader = PackReader(layout, lambda _: stores, retrying, verify=True)
    with pytest.raises(Cancelled):
        drive(reader.prepare(ByteRange(0, layout.size), check))
    assert stores.gets == [None]


def test_neither_names_nor_separators_share_an_etag() -> None:
    """`if_exists="skip"` and continuations compare it."""
    etags = {
        LAYOUTS[kind](members_of(names, sizes)).etag
        for kind in LAYOUTS
        for names in ("ab", "ba", "cd")
        for sizes in ((1, 1), (1, 2))
    }
    assert len(etags) == 4 * 3 * 2


EDGES = [0, 1, 2**32 - 2, 2**32 - 1, 2**32, 5 * GiB]


def directory_of(layout: ZipLayout, path: Path) -> zipfile.ZipFile:
    """Write an archive without the content of its files, and return it as read by Python."""
    members = layout.members
    with path.open("wb") as file:
        for position in {*range(min(8, len(members))), len(members) - 1}:
            file.seek(layout.start(position))
            file.write(layout.before(members[position], 7))
        file.seek(layout.members_end)
        for piece in layout.tail():
            file.write(piece)
        assert file.tell() == layout.size
    return zipfile.ZipFile(path)


def check_directory(layout: ZipLayout, path: Path) -> None:
    members = layout.members
    expected = [(member.name, member.size, layout.start(at)) for at, member in enumerate(members)]
    with directory_of(layout, path) as archive:
        infos = archive.infolist()
        assert [(info.filename, info.file_size, info.header_offset) for info in infos] == expected
        for info in {infos[0].filename: infos[0], infos[-1].filename: infos[-1]}.values():
            archive.open(info).close()  # it compares the local header
    with path.open("rb") as file:
        file.seek(max(0, layout.size - TAIL))
        directory = find_directory(file.read(), layout.size)
        file.seek(directory.range.start)
        data = file.read(directory.range.length)
    assert directory.shift == 0
    rows = list(read_rows(data))
    assert [(row.name.decode(), row.size, row.offset) for row in rows] == expected
    # It refuses entries that overlap, or reach into the directory.
    scan = Scan(ZipEntries(LocalFile("a.zip")), Area.of(directory), 1_000, math.inf, by_name=True)
    scan.feed(data)
    scan.finish()


@given(st.lists(st.sampled_from(EDGES), min_size=1, max_size=5))
@several
def test_sizes_and_places_over_4_gib_are_right(
    tmp_path_factory: pytest.TempPathFactory, sizes: list[int]
) -> None:
    layout = ZipLayout(members_of([f"ü{at}" for at in range(len(sizes))], sizes))
    path = tmp_path_factory.mktemp("sparse") / "a.zip"
    check_directory(layout, path)
    path.unlink()


@pytest.mark.parametrize("offset", [2**32 - 2, 2**32 - 1, 2**32])
def test_a_place_at_the_edge_is_right(tmp_path: Path, offset: int) -> None:
    first = offset - 31
    layout = ZipLayout(members_of(["a", "b"], [first - 20 * (first >= 2**32 - 1), 1]))
    assert layout.start(1) == offset
    check_directory(layout, tmp_path / "a.zip")


@pytest.mark.parametrize("count", [65_534, 65_535, 65_536])
def test_many_files_are_counted(tmp_path: Path, count: int) -> None:
    layout = ZipLayout(members_of([str(at) for at in range(count)], [0] * count))
    check_directory(layout, tmp_path / "a.zip")
