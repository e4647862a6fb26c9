"""The headers of tar archives, as Python's `tarfile` writes them, and damaged or hostile ones."""

import io
import tarfile
from contextlib import suppress
from typing import Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asyncstream.archives.entry_names import refusal
from asyncstream.archives.tar_headers import BLOCK, END, padding, tar_end, tar_header
from asyncstream.archives.tar_index import TarIndex
from asyncstream.archives.tar_reading import MOST_EXTENDED, Headers, Member, is_header
from asyncstream.checksum import CRC64NVME, Digests
from asyncstream.errors import CorruptInput, InputError

_TEXT = st.characters(exclude_categories=["Cs"], exclude_characters="/\0")
NAMES = st.lists(st.text(_TEXT, min_size=1, max_size=90), min_size=1, max_size=5).map("/".join)
OWN_NAMES = NAMES.filter(lambda name: refusal(name) is None)
FORMATS = [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT]


def pack(files: dict[str, bytes], form: int = tarfile.PAX_FORMAT) -> bytes:
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w", format=form) as archive:
        for name, content in files.items():
            add(archive, name, content)
    return packed.getvalue()


def add(archive: tarfile.TarFile, name: str, content: bytes = b"", **fields: object) -> None:
    member = tarfile.TarInfo(name)
    member.size = len(content)
    for field, value in fields.items():
        setattr(member, field, value)
    archive.addfile(member, io.BytesIO(content))


def members(archive: bytes, step: int = 1 << 20) -> list[Member]:
    """Return the members of an archive that is read in pieces of so many bytes."""
    headers = Headers()
    found: list[Member] = []
    for at in range(0, len(archive), step):
        found += headers.feed(at, archive[at : at + step])
    headers.finish(len(archive))
    return found


def contents(archive: bytes, found: list[Member]) -> dict[str, bytes]:
    return {each.name: archive[each.offset : each.offset + each.size] for each in found}


def header(name: bytes = b"x", size: bytes = b"0", kind: bytes = b"0", more: bytes = b"") -> bytes:
    """Return a header with these bytes in its fields; `more` follows the kind."""
    block = bytearray(BLOCK)
    block[: len(name)] = name
    block[124 : 124 + len(size)] = size
    block[156:157] = kind
    block[157 : 157 + len(more)] = more
    block[148:156] = b" " * 8
    block[148:156] = b"%06o\0 " % sum(block)
    return bytes(block)


def pax(records: bytes, kind: bytes = b"x") -> bytes:
    return header(b"pax", b"%o" % len(records), kind) + records + padding(len(records))


@given(
    st.dictionaries(NAMES, st.binary(max_size=1500), max_size=5),
    st.sampled_from(FORMATS[1:]),
    st.sampled_from([1, 100, 512, 700, 10_240, 1 << 20]),
)
def test_what_python_writes_is_read(files: dict[str, bytes], form: int, step: int) -> None:
    archive = pack(files, form)
    found = members(archive, step)
    plain = {name: content for name, content in files.items() if not name.startswith("./")}
    assert {name: content for name, content in contents(archive, found).items() if name in plain} == plain
    assert len(found) == len(files)
    assert all(each.kind == "file" and each.refused is None for each in found)


@given(st.dictionaries(OWN_NAMES, st.binary(max_size=1500), max_size=5), st.integers(1, 2000))
def test_what_this_library_writes_is_read(files: dict[str, bytes], step: int) -> None:
    archive = b"".join(
        tar_header(name, len(content), 0) + content + padding(len(content)) for name, content in files.items()
    )
    archive += tar_end(len(archive))
    assert contents(archive, members(archive, step)) == files


@pytest.mark.parametrize("form", FORMATS)
def test_long_names_are_whole(form: int) -> None:
    names = ["d" * 150 + "/" + "n" * 99, "x" * 100]
    if form != tarfile.USTAR_FORMAT:
        names += ["y" * 101, "k" * 300, "ü" * 200, "d" * 200 + "/" + "e" * 200]
    files = {name: name.encode() for name in names}
    archive = pack(files, form)
    assert contents(archive, members(archive)) == files


@pytest.mark.parametrize("form", FORMATS[1:])
def test_sizes_beyond_eight_gigabytes_are_read(form: Literal[1, 2]) -> None:
    size = 20 * 1024**3
    member = tarfile.TarInfo("x")
    member.size = size
    [found] = Headers().feed(0, member.tobuf(form))
    assert (found.name, found.size) == ("x", size)


def test_old_headers_without_a_magic_are_read() -> None:
    archive = header(b"d/", kind=b"\0") + header(b"d/x", b"%11o " % 3, b"\0") + b"abc" + padding(3) + END
    assert [(each.name, each.kind) for each in members(archive)] == [("d/", "folder"), ("d/x", "file")]
    assert contents(archive, members(archive))["d/x"] == b"abc"


def test_checksums_of_signed_bytes_are_right() -> None:
    block = bytearray(header("ü".encode()))
    block[148:156] = b" " * 8
    block[148:156] = b"%06o\0 " % sum(byte - 256 * (byte > 127) for byte in block)
    assert is_header(bytes(block))
    block[0] ^= 1
    assert not is_header(bytes(block))


def test_other_kinds_have_no_content() -> None:
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as archive:
        add(archive, "folder", type=tarfile.DIRTYPE)
        add(archive, "symbolic", type=tarfile.SYMTYPE, linkname="l" * 200)
        add(archive, "hard", type=tarfile.LNKTYPE, linkname="x")
        add(archive, "pipe", type=tarfile.FIFOTYPE)
        add(archive, "disk", type=tarfile.BLKTYPE)
        add(archive, "x", b"1")
    found = {each.name: each.kind for each in members(packed.getvalue())}
    assert [found[name] for name in ("symbolic", "hard", "pipe", "disk", "x")] == [
        "link",
        "link",
        "device",
        "device",
        "file",
    ]


def test_a_path_of_pax_counts_before_others() -> None:
    long_name = header(b"", b"%o" % 5, b"L") + b"long\0" + padding(5)
    assert members(long_name + pax(b"12 path=pax\n") + header() + END)[0].name == "pax"
    assert members(long_name + header() + END)[0].name == "long"
    shared = pax(b"15 path=shared\n", b"g") + header() + pax(b"12 path=pax\n") + header() + header() + END
    assert [each.name for each in members(shared)] == ["shared", "pax", "shared"]


def test_names_that_are_no_utf_8_are_latin_1() -> None:
    assert members(header(b"caf\xe9") + END)[0].name == "café"


def test_dots_before_a_name_are_left_out() -> None:
    assert members(header(b"././x") + END)[0].name == "x"


def test_sparse_files_are_refused_by_name_and_passed() -> None:
    old = bytearray(header(b"old", b"%o" % 3, b"S"))
    old[482] = 1
    old[148:156] = b" " * 8
    old[148:156] = b"%06o\0 " % sum(old)
    extension = bytearray(BLOCK)
    extension[504] = 1
    sparse = bytes(old) + bytes(extension) + bytes(BLOCK) + b"abc" + padding(3)
    new = pax(b"21 GNU.sparse.name=s\n26 GNU.sparse.realsize=99\n") + header(b"GNUSparse.0/s", b"1") + b"1"
    found = members(sparse + new + padding(1) + header(b"x") + END)
    assert [(each.name, each.refused is None) for each in found] == [
        ("old", False),
        ("s", False),
        ("x", True),
    ]
    assert "sparse" in str(found[0].refused)


def test_unknown_kinds_are_refused_by_name() -> None:
    found = members(header(b"odd", b"1", b"Q") + b"1" + padding(1) + header(b"x") + END)
    assert [each.refused for each in found] == ["its type b'Q' is not known", None]


BAD = {
    "other": (b"no archive " * 100, "not a tar archive"),
    "empty": (b"", "it is empty"),
    "cut in content": (header(size=b"7777") + b"abc", "truncated"),
    "cut in a header": (header()[:300], "truncated"),
    "cut after an extended header": (pax(b"12 path=pax\n"), "truncated"),
    "end after an extended header": (pax(b"12 path=pax\n") + END, "no file follows"),
    "garbage between": (header() + b"garbage!" * 64 + header() + END, "no header of a file is at byte 512"),
    "a size that is too small": (header(size=b"0") + b"content".ljust(512) + END, "no header of a file"),
    "a size that is no number": (header(size=b"9") + END, "is not a number"),
    "a negative size": (header(size=b"\xff" * 12) + END, "is not a number"),
    "a huge size": (header(size=b"\x80" + b"\x7f" * 11) + END, "truncated"),
    "a negative size of pax": (pax(b"11 size=-5\n") + header() + END, "is not a number"),
    "digits of other scripts": (pax("11 size=٣\n".encode()) + header() + END, "is not a number"),
    "one size for all": (pax(b"10 size=5\n", b"g") + header() + END, "for all files"),
    "a record that is too long": (pax(b"99 path=x\n") + header() + END, "malformed"),
    "a record of no length": (pax(b"0 path=x\n") + header() + END, "malformed"),
    "a record without a length": (pax(b"path=x\n") + header() + END, "malformed"),
    "a record without a value": (pax(b"7 path\n") + header() + END, "no value"),
    "a huge extended header": (
        header(size=b"%o" % (MOST_EXTENDED + 1), kind=b"x") + END,
        "has 1048577 bytes",
    ),
    "a huge long name": (header(size=b"77777777777", kind=b"L") + END, "has 8589934591 bytes"),
    "a volume": (header(kind=b"M") + END, "several volumes"),
}


@pytest.mark.parametrize(("archive", "words"), BAD.values(), ids=BAD.keys())
def test_bad_archives_are_refused(archive: bytes, words: str) -> None:
    for step in (1, 512, 1 << 20):
        with pytest.raises(CorruptInput, match=words):
            members(archive, step)


@given(st.data())
def test_damage_never_raises_another_error(data: st.DataObject) -> None:
    archive = bytearray(
        pack({"ü" * 60: b"1" * 600, "b": b"", "k" * 200: b"2"}, data.draw(st.sampled_from(FORMATS[1:])))
    )
    for _ in range(data.draw(st.integers(1, 4))):
        archive[data.draw(st.integers(0, 6 * BLOCK))] = data.draw(st.integers(0, 255))
    cut = bytes(archive[: data.draw(st.integers(0, len(archive)))])
    with suppress(CorruptInput):
        for each in members(cut):
            assert 0 <= each.offset <= each.offset + each.size <= len(cut)


def index(archive: bytes, select: str = "*", most_bytes: float = 1e9) -> TarIndex:
    found = TarIndex(select, most_bytes)
    found.feed(0, archive)
    return found


def test_the_last_file_of_a_name_counts() -> None:
    archive = header(b"x", b"1") + b"1" + padding(1) + header(b"y") + header(b"./x", b"1") + b"2" + padding(1)
    found = index(archive + END)
    assert list(found.files) == ["y", "x"]
    assert archive[found.files["x"].range.start] == ord("2")
    assert "has 1 files that a later one of the same name replaces" in list(found.left_out())


def test_a_link_replaces_a_file() -> None:
    found = index(header(b"x") + header(b"x", kind=b"2") + END)
    assert not found.files
    assert "has 1 symbolic and hard links, which were left out" in list(found.left_out())


def test_ends_without_a_mark_are_told() -> None:
    assert list(index(header() + END).left_out()) == []
    assert list(index(header() + bytes(BLOCK)).left_out()) == []
    assert "without an end mark" in next(index(header()).left_out())
    assert "after a block of zeros at byte 512" in next(index(header() + bytes(BLOCK) + header()).left_out())


def test_hostile_names_are_refused_and_others_selected() -> None:
    found = index(header(b"../x") + header(b"a.csv") + header(b"/b.csv") + END, select="*.csv")
    assert {name: file.refused is None for name, file in found.files.items()} == {
        "a.csv": True,
        "/b.csv": False,
    }


def test_an_index_beyond_the_memory_is_refused() -> None:
    with pytest.raises(InputError, match="needs more memory than there is"):
        index(pack({f"{number}": b"" for number in range(100)}), most_bytes=20_000)


@given(
    st.dictionaries(OWN_NAMES, st.binary(max_size=3000), max_size=5), st.sampled_from([1, 100, 700, 1 << 20])
)
def test_checksums_of_contents_are_computed_as_they_pass(files: dict[str, bytes], step: int) -> None:
    archive = pack(files)
    found = TarIndex("*", 1e9, digest=True)
    for at in range(0, len(archive), step):
        found.feed(at, archive[at : at + step])
    for name, content in files.items():
        digests = Digests([CRC64NVME])
        digests.update(content)
        assert found.files[name].checksum == digests.checksums()[CRC64NVME]


def test_a_million_records_that_do_not_count_are_not_kept() -> None:
    """A tiny compressed archive may have gigabytes of them, each with another key."""
    records = b"".join(
        b"%d GNU.sparse.%06d=1\n" % (len(b"NN GNU.sparse.NNNNNN=1\n"), n) for n in range(20_000)
    )
    headers = Headers()
    for at, kind in ((0, b"x"), (1, b"g")):
        list(headers.feed(headers.wanted, pax(records, kind)))
        assert sum(map(len, (vars(headers)["_pax"], vars(headers)["_global"]))) == at + 1
