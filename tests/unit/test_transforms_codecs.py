"""Compression: input of other tools is read, output is readable by them, and damage is reported."""

import bz2
import gzip
import lzma
import random
import shutil
import struct
import subprocess
import sys
import zlib
from base64 import b64decode
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from itertools import islice
from typing import Any, NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asyncstream.errors import ConfigError, CorruptInput, MemoryNeeded
from asyncstream.pipeline.memory import resident
from asyncstream.transforms import Bunzip2, Gunzip, Gzip, Transform, Unxz, Unzstd, Zstd, named
from asyncstream.transforms.codecs import ZSTD
from asyncstream.transforms.gzip import library
from asyncstream.transforms.protocol import PIECE
from asyncstream.transforms.windows import BESIDE, xz_window, zstd_window
from asyncstream.units import KiB, MiB
from tests.lacking import lacking

from .transforming import CUTS, bytewise, made_pieces, through

zstd = library(ZSTD)


class Format(NamedTuple):
    unpack: Callable[..., Transform]
    pack: Callable[[bytes], bytes]


FORMATS = {
    "gzip": Format(Gunzip, partial(gzip.compress, mtime=0)),
    "bzip2": Format(Bunzip2, bz2.compress),
    "xz": Format(Unxz, lzma.compress),
    "zstd": Format(Unzstd, partial(zstd.compress, options={zstd.CompressionParameter.checksum_flag: 1})),
}
PACKERS: dict[str, tuple[Any, Callable[[bytes], bytes]]] = {
    "gzip": (Gzip, gzip.decompress),
    "zstd": (Zstd, zstd.decompress),
}
PROGRAMS = {"gzip": "gzip", "zstd": "zstd"}
CONTENT = st.binary(max_size=300) | st.builds(
    lambda part, times: part * times, st.binary(max_size=9), st.integers(0, 9999)
)

PEOPLE = "id,name\n1,Zoë\n2,Bob\n".encode()
# people.csv, packed by gzip 1.12, bzip2 1.0.8, xz 5.4.1 and zstd 1.5.4 with the options in the key.
BY_PROGRAMS = {
    "gzip -9": (Gunzip, "H4sICADxU2UCA3Blb3BsZS5jc3YAy0zRyUvMTeUy1InKP7yay0jHKT+JCwBgib6BFQAAAA=="),
    "bzip2": (
        Bunzip2,
        "QlpoOTFBWSZTWbdMsTIAAAdfFAAQAAQwABAAABA2I4AICAAgACIgzUZHlBTAATSVIFBtMUVCBXt/F3JFOFCQt0yxMg==",
    ),
    "xz": (
        Unxz,
        "/Td6WFoAAATm1rRGAgAhARYAAAB0L+WjAQAUaWQsbmFtZQoxLFpvw6sKMixCb2IKAAAAAL3flk+6lpz/AAEtFS8LcW0ftvN9AQAAAAAEWVo=",
    ),
    "xz -9 --check=sha256": (
        Unxz,
        "/Td6WFoAAArh+wyhAgAhARwAAAAQz1jMAQAUaWQsbmFtZQoxLFpvw6sKMixCb2IKAAAAAHexpMdwMHetvxIdq4ScWtBS+xkJWdaWEQf+8jkLkg1yAAFFFYDqVcAYm0uaAQAAAAAKWVo=",
    ),
    "zstd -19": (Unzstd, "KLUv/SQVqQAAaWQsbmFtZQoxLFpvw6sKMixCb2IKZjwepA=="),
    "zstd --no-check -1": (Unzstd, "KLUv/SAVqQAAaWQsbmFtZQoxLFpvw6sKMixCb2IK"),
}
# bgzip's empty last block, from the SAM specification.
BGZF_EOF = bytes.fromhex("1f8b08040000000000ff0600424302001b0003000000000000000000")


def gzip_member(content: bytes, flags: int = 0, extra: bytes = b"BC\x02\x00\x34\x12") -> bytes:
    header = b"\x1f\x8b\x08" + bytes([flags]) + b"\0\0\0\0\0\xff"
    if flags & 4:
        header += struct.pack("<H", len(extra)) + extra
    if flags & 8:
        header += b"na\xefve.txt\0"
    if flags & 16:
        header += b"a comment\0"
    if flags & 2:
        header += struct.pack("<H", zlib.crc32(header) & 0xFFFF)
    deflate = zlib.compressobj(6, zlib.DEFLATED, -15)
    body = deflate.compress(content) + deflate.flush()
    return header + body + struct.pack("<II", zlib.crc32(content), len(content))


def bgzip(content: bytes, block: int) -> bytes:
    """Pack as bgzip does: each block is a member with its size in a field BC (SAM specification, 4.1)."""
    made = b""
    for start in range(0, len(content), block):
        size = len(gzip_member(content[start : start + block], 4)) - 1
        made += gzip_member(content[start : start + block], 4, b"BC\x02\x00" + struct.pack("<H", size))
    return made + BGZF_EOF


def skippable(content: bytes) -> bytes:
    return struct.pack("<II", 0x184D2A5E, len(content)) + content


@pytest.fixture(params=FORMATS)
def form(request: pytest.FixtureRequest) -> Format:
    return FORMATS[request.param]


@pytest.mark.parametrize("name", FORMATS)
@given(contents=st.lists(CONTENT, min_size=1, max_size=3), cuts=CUTS)
def test_joined_members_are_unpacked_from_any_chunks(
    name: str, contents: list[bytes], cuts: list[float]
) -> None:
    unpack, pack = FORMATS[name]

    assert through(unpack, b"".join(map(pack, contents)), cuts) == b"".join(contents)


def test_members_are_unpacked_a_byte_at_a_time(form: Format) -> None:
    packed = form.pack(PEOPLE) + form.pack(b"") + form.pack(PEOPLE)

    assert through(form.unpack, packed, bytewise(packed)) == PEOPLE * 2


@pytest.mark.parametrize("by", BY_PROGRAMS)
def test_what_the_programs_packed_is_unpacked(by: str) -> None:
    unpack, packed = BY_PROGRAMS[by]

    assert through(unpack, b64decode(packed)) == PEOPLE
    assert through(unpack, b64decode(packed), bytewise(b64decode(packed))) == PEOPLE


@pytest.mark.parametrize("name", PACKERS)
@given(content=CONTENT, cuts=CUTS, others=CUTS)
def test_packed_bytes_are_readable_and_alike_in_any_chunks(
    name: str, content: bytes, cuts: list[float], others: list[float]
) -> None:
    pack, reference = PACKERS[name]
    packed = through(pack, content, cuts)

    assert reference(packed) == content
    assert packed == through(pack, content, others)


@pytest.mark.parametrize("name", PACKERS)
@pytest.mark.parametrize("level", [1, 3])
def test_much_text_packs_alike_in_any_chunks(name: str, level: int) -> None:
    """The format's own program reads the result."""
    drawn = random.Random(7)
    text = b"".join(b"%d GET /%d\n" % (n, drawn.randrange(9999)) for n in range(50_000))
    pack = partial(PACKERS[name][0], level)
    packed = through(pack, text)

    for cuts in (1, 20, 3000):
        assert through(pack, text, sorted(drawn.random() for _ in range(cuts))) == packed
    assert PACKERS[name][1](packed) == text
    if shutil.which(PROGRAMS[name]) is None:
        lacking(f"{PROGRAMS[name]} is not installed; the library read it")
    assert (
        subprocess.run([PROGRAMS[name], "-dc"], input=packed, capture_output=True, check=True).stdout == text
    )


@pytest.mark.parametrize("name", PACKERS)
def test_what_is_packed_comes_in_pieces_also_of_one_large_chunk(name: str) -> None:
    noise = random.Random(3).randbytes(3_000_000)
    made = list(made_pieces(PACKERS[name][0](), [noise]))

    assert max(map(len, made)) <= PIECE
    assert PACKERS[name][1](b"".join(made)) == noise


def test_gzip_writes_neither_time_nor_name() -> None:
    assert through(Gzip, PEOPLE)[:10] == bytes.fromhex("1f8b08000000000000ff")


@given(content=CONTENT, block=st.integers(1, 5000), cuts=CUTS)
def test_blocks_of_bgzip_are_unpacked(content: bytes, block: int, cuts: list[float]) -> None:
    content = content[: block * 20]

    assert through(Gunzip, bgzip(content, block), cuts) == content


@given(flags=st.integers(0, 31), cuts=CUTS)
def test_every_header_of_gzip_is_read(flags: int, cuts: list[float]) -> None:
    packed = gzip_member(PEOPLE, flags) * 2

    assert through(Gunzip, packed, cuts) == PEOPLE * 2
    assert through(Gunzip, packed, bytewise(packed)) == PEOPLE * 2


def test_gzip_headers_are_read_up_to_a_limit() -> None:
    """The longest extra field is read, and an endless name is refused."""
    assert through(Gunzip, gzip_member(PEOPLE, 4, b"x" * 65535), [0.01, 0.5, 0.9]) == PEOPLE
    with pytest.raises(CorruptInput, match="header is longer than 131072"):
        through(Gunzip, b"\x1f\x8b\x08\x08\0\0\0\0\0\xff" + b"n" * 500_000)


@pytest.mark.parametrize("flags", [32, 64, 128])
def test_reserved_flags_of_gzip_are_refused(flags: int) -> None:
    with pytest.raises(CorruptInput, match="reserved flags"):
        through(Gunzip, gzip_member(PEOPLE, flags))


def test_a_changed_header_of_gzip_is_found_by_its_checksum() -> None:
    packed = bytearray(gzip_member(PEOPLE, 2 + 8))
    packed[12] ^= 1

    with pytest.raises(CorruptInput, match="header does not match its checksum"):
        through(Gunzip, bytes(packed))


def test_skippable_frames_of_zstd_are_skipped() -> None:
    frame = zstd.compress(PEOPLE)
    packed = (
        skippable(b"index") + frame + skippable(b"") + skippable(b"seek table") + frame + skippable(b"end")
    )

    assert through(Unzstd, packed, bytewise(packed)) == PEOPLE * 2


@pytest.mark.parametrize("cuts", [[], [0.1, 0.5, 0.97]])
def test_padding_is_ignored_where_the_program_ignores_it(cuts: list[float]) -> None:
    for name in ("gzip", "bzip2", "xz"):
        unpack, pack = FORMATS[name]
        assert through(unpack, pack(PEOPLE) + b"\0" * 512, cuts) == PEOPLE
    assert through(Unxz, lzma.compress(PEOPLE) + b"\0" * 8 + lzma.compress(PEOPLE), cuts) == PEOPLE * 2


@pytest.mark.parametrize(
    ("name", "after", "at"),
    [
        ("gzip", b"x", 0),
        ("gzip", b"\0\0\0x", 3),
        ("gzip", b"\x1fx", 0),
        ("gzip", b"\0" + gzip.compress(b"more", mtime=0), 1),
        ("bzip2", b"BZx", 0),
        ("bzip2", b"\0\0" + bz2.compress(b"more"), 2),
        ("xz", b"\0\0\0\0x", 4),
        ("xz", b"\xfd7zXY", 0),
        ("zstd", b"\0", 0),
        ("zstd", b"\x28\xb5\x2f\xff", 0),
    ],
)
def test_trailing_garbage_is_an_error_that_says_where_it_starts(name: str, after: bytes, at: int) -> None:
    unpack, pack = FORMATS[name]
    packed = pack(PEOPLE)

    for cuts in ([], bytewise(packed + after)):
        with pytest.raises(CorruptInput, match=rf"trailing garbage at byte {len(packed) + at}:"):
            through(unpack, packed + after, cuts)


@pytest.mark.parametrize("after", [b"\0" * 5, b"\0" * 7 + lzma.compress(b"")])
def test_padding_of_xz_comes_in_fours(after: bytes) -> None:
    with pytest.raises(CorruptInput, match="not a multiple of four"):
        through(Unxz, lzma.compress(PEOPLE) + after)


def test_empty_input_is_an_error_as_it_is_to_the_programs(form: Format) -> None:
    with pytest.raises(CorruptInput, match="the input is empty"):
        through(form.unpack, b"")


def test_other_data_are_refused_at_their_first_bytes(form: Format) -> None:
    for other in (b"id,name\n", b"\0", b"PK\x03\x04"):
        with pytest.raises(CorruptInput, match="starts with other bytes"):
            next(made_pieces(form.unpack(), [other]))


def test_input_cut_short_at_any_byte_is_shown_with_its_length(form: Format) -> None:
    packed = form.pack(PEOPLE * 3)

    for end in range(1, len(packed)):
        with pytest.raises(CorruptInput, match=rf"end at byte {end}, within"):
            through(form.unpack, packed[:end], [0.5])
        with pytest.raises(CorruptInput, match=rf"end at byte {len(packed) + end}, within"):
            through(form.unpack, packed + packed[:end])


def test_a_changed_byte_is_found_or_changes_nothing(form: Format) -> None:
    packed = form.pack(PEOPLE * 3)

    for index in range(len(packed)):
        for bit in (1, 0x10, 0x80):
            changed = bytearray(packed)
            changed[index] ^= bit
            try:
                made = through(form.unpack, bytes(changed), [0.3, 0.7])
            except (CorruptInput, MemoryNeeded):
                continue
            assert made == PEOPLE * 3, f"byte {index} of {len(packed)}"


def test_damage_is_shown_with_the_bytes_it_was_found_in(form: Format) -> None:
    packed = bytearray(form.pack(random.Random(1).randbytes(300_000)))
    packed[200_000:200_100] = bytes(100)

    with pytest.raises(CorruptInput, match=r"at or before bytes \d+ to \d+:") as raised:
        through(form.unpack, bytes(packed), [0.01, 0.5])
    assert raised.value.__cause__ is not None
    assert not raised.value.retryable


def test_of_a_bomb_only_the_pieces_drawn_are_ever_made(form: Format) -> None:
    bomb = form.pack(bytes(20_000_000))
    drawn = list(islice(made_pieces(form.unpack(), [bomb]), 5))

    assert max(map(len, drawn)) <= PIECE
    assert sum(map(len, made_pieces(form.unpack(), [bomb]))) == 20_000_000


def test_many_tiny_members_take_time_by_their_number_only() -> None:
    """A megabyte of empty members: copying the rest for each would be 25 GB."""
    assert through(Gunzip, gzip_member(b"") * 50_000) == b""


def widened(content: bytes, log: int) -> bytes:
    """Return a frame of Zstandard with a window of 2 ** log bytes and any content."""
    compressor = zstd.ZstdCompressor(options={zstd.CompressionParameter.window_log: log})
    return b"".join([compressor.compress(content), compressor.flush()])


WIDE = {"xz": lambda content: lzma.compress(content, preset=9), "zstd": lambda content: widened(content, 26)}


@pytest.mark.parametrize("name", WIDE)
def test_a_window_larger_than_allowed_is_refused_when_filled(name: str) -> None:
    """A small file fills little of its window, and the decoder needs only as much memory as is filled."""
    unpack, allowed = FORMATS[name].unpack, 8 * MiB
    few, many = bytes(5 * MiB), bytes(7 * MiB)

    assert through(partial(unpack, allowed), WIDE[name](few)) == few
    with pytest.raises(
        MemoryNeeded, match=r"8388608 are allowed: their head asks for a window of 67108864 bytes"
    ) as raised:
        through(partial(unpack, allowed), WIDE[name](many))
    assert raised.value.needs == 64 * MiB + BESIDE
    assert through(partial(unpack, raised.value.needs), WIDE[name](many)) == many


def test_a_later_block_with_a_larger_window_is_refused() -> None:
    """The first block of the xz stream has a window of 64 KiB, the second one of 64 MiB."""
    small = [{"id": lzma.FILTER_LZMA2, "dict_size": 64 * KiB}]
    first, second = lzma.compress(PEOPLE, filters=small), lzma.compress(bytes(10 * MiB), preset=9)
    # The first without its index and footer, the second without its header.
    blocks = first[: -12 - _index_size(first)] + second[12:]

    with pytest.raises(MemoryNeeded) as raised:
        through(partial(Unxz, 8 * MiB), blocks)
    assert raised.value.needs == 16 * MiB


def _index_size(stream: bytes) -> int:
    """Return the footer's backward size (.xz file format, 2.1.2.2)."""
    return (int.from_bytes(stream[-8:-4], "little") + 1) * 4


def test_each_stream_of_a_file_may_fill_what_is_allowed() -> None:
    part = bytes(6 * MiB)
    packed = lzma.compress(part, preset=9) * 3

    assert through(partial(Unxz, 8 * MiB), packed) == part * 3


@pytest.mark.parametrize("level", [1, 6, 9])
def test_the_window_of_xz_is_in_its_head(level: int) -> None:
    head = lzma.compress(PEOPLE, preset=level)

    assert xz_window(head) == {1: 1, 6: 8, 9: 64}[level] * MiB
    assert {xz_window(head[:end]) for end in range(13)} == {None}
    assert xz_window(lzma.compress(b"")) == 0
    assert xz_window(head[:12] + b"\x01" + b"\xff" * 7) == 0


def test_the_window_of_xz_is_found_behind_sizes_and_filters() -> None:
    """The block has both its sizes, 300 and 20 bytes, and a filter for x86 code before LZMA2."""
    head = bytes(12) + bytes.fromhex("03 c1 ac02 14 04 00 21 01 16 000000 00000000")

    assert xz_window(head) == 8 * MiB


@pytest.mark.parametrize("log", [10, 21, 27])
def test_the_window_of_zstd_is_in_its_head(log: int) -> None:
    frame = widened(PEOPLE, log)

    assert zstd_window(frame) == 1 << log
    assert zstd_window(zstd.compress(PEOPLE)) == len(PEOPLE)
    assert zstd_window(zstd.compress(bytes(300))) == 300
    assert zstd_window(zstd.compress(bytes(70_000))) == 70_000
    assert zstd_window(skippable(b"index")) == 0


def test_a_head_that_asks_for_gigabytes_takes_none() -> None:
    """The heads ask for 4 GiB (xz) and 3.75 TiB (Zstandard, which accepts at most 2 GiB)."""
    whole = bytearray(lzma.compress(PEOPLE))
    whole[16] = 40
    whole[20:24] = struct.pack("<I", zlib.crc32(whole[12:20]))
    assert xz_window(bytes(whole)) == 2**32
    before = resident()
    for unpack, packed in ((Unxz, bytes(whole)), (Unzstd, b"\x28\xb5\x2f\xfd\x00\xff" + bytes(9))):
        with suppress(MemoryNeeded):  # from the kernel or the library
            assert through(unpack, packed) == PEOPLE
    assert resident() - before < 100 * MiB


def test_xz_at_its_highest_level_is_unpacked_by_default() -> None:
    assert through(Unxz, lzma.compress(PEOPLE, preset=9)) == PEOPLE


@pytest.mark.parametrize(("pack", "level"), [(Gzip, 4), (Gzip, -1), (Zstd, 0), (Zstd, 20), (Zstd, "3")])
def test_a_level_that_is_none_is_refused(pack: Callable[[object], object], level: object) -> None:
    with pytest.raises(ConfigError, match=rf"level {level!r} must be"):
        pack(level)


@pytest.mark.parametrize(
    ("name", "missing"),
    [
        ("gzip", "isal.isal_zlib"),
        ("gunzip", "isal.igzip_lib"),
        ("zstd", ZSTD),
        ("unzstd", ZSTD),
        ("bunzip2", "bz2"),
        ("unxz", "lzma"),
    ],
)
def test_a_missing_library_is_reported_before_any_file(
    name: str, missing: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """pip cannot install a module of the standard library, so the advice is another Python."""
    standard = missing in {"bz2", "lzma", "compression.zstd"}
    advice = "built without it" if standard else r"pip install 'asyncstream\[transforms\]'"
    library.cache_clear()
    monkeypatch.setitem(sys.modules, missing, None)

    with pytest.raises(ConfigError, match=advice):
        named(name)


def test_the_libraries_are_not_loaded_before_they_are_asked_for() -> None:
    script = (
        "import sys, asyncstream.transforms; print([name for name in sys.modules if name.startswith('isal')])"
    )

    assert subprocess.check_output([sys.executable, "-c", script], text=True) == "[]\n"
