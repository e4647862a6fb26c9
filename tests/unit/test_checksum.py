"""Checksums of every kind, compared with published check values, and combined CRCs of parts."""

import platform
import sys
import zlib
from base64 import b64encode
from collections.abc import Iterator
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asyncstream import checksum
from asyncstream.checksum import (
    CRC64NVME,
    KINDS,
    Checksum,
    Composite,
    Digests,
    checkable_in_parts,
    combined,
    composed,
    is_digest,
    joined_pieces,
)

from .memory_store import composite_of

CRCS = [kind for kind in KINDS if checkable_in_parts(kind)]


def of(content: bytes, kind: str) -> Checksum:
    digests = Digests([kind])
    digests.update(content)
    return digests.checksums()[kind]


@pytest.fixture
def crc32_chosen_again() -> Iterator[None]:
    checksum._crc32.cache_clear()
    yield
    checksum._crc32.cache_clear()


@pytest.mark.skipif(platform.machine() != "x86_64", reason="on other machines awscrt's is as fast")
@pytest.mark.parametrize("installed", [True, False])
@pytest.mark.usefixtures("crc32_chosen_again")
def test_crc32_is_isa_ls_if_it_is_installed(installed: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    used: list[int] = []

    class IsaL:
        @staticmethod
        def crc32(data: bytes, crc: int) -> int:
            used.append(len(data))
            return zlib.crc32(data, crc)

    monkeypatch.setitem(sys.modules, "isal.isal_zlib", IsaL if installed else None)
    assert of(b"123456789", "CRC32") == Checksum("CRC32", b64encode(bytes.fromhex("cbf43926")).decode())
    assert used == [9] * installed


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        (CRC64NVME, "ae8b14860a799888"),
        ("CRC32", "cbf43926"),
        ("CRC32C", "e3069283"),
        ("SHA1", "f7c3bc1d808e04732adf679965ccc34ca7ae3441"),
        ("SHA256", "15e2b0d3c33891ebb0f1ef609ec419420c20e320ce94c65fbc8c3312448eb225"),
        ("MD5", "25f9e794323b453885f5181f1b624d0b"),
        (
            "SHA512",
            (
                "d9e6762dd1c8eaf6d61b3c6192fc408d4d6d5f1176d0c29169bc24e71c3f274a"
                "d27fcd5811b313d681f7e55ec02d73d499c95455b6b5bb503acf574fba8ffe85"
            ),
        ),
        ("XXHASH64", "8cb841db40e6ae83"),
    ],
)
def test_a_checksum_is_base64_of_the_bytes_in_big_endian_order(kind: str, value: str) -> None:
    """The check values are from the CRC catalogue (of "123456789") and FIPS 180."""
    assert of(b"123456789", kind) == Checksum(kind, b64encode(bytes.fromhex(value)).decode())


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        (CRC64NVME, "AAAAAAAAAAA="),
        ("CRC32", "AAAAAA=="),
        # From the tests of https://github.com/Cyan4973/xxHash, in hexadecimal: ef46db3751d8e999,
        # 2d06800538d394c2 and 99aa06d3014798d86001c324468d497f.
        ("XXHASH64", "70bbN1HY6Zk="),
        ("XXHASH3", "LQaABTjTlMI="),
        ("XXHASH128", "maoG0wFHmNhgAcMkRo1Jfw=="),
    ],
)
def test_no_bytes_have_a_checksum_too(kind: str, value: str) -> None:
    assert Digests([kind]).checksums() == {kind: Checksum(kind, value)}


@pytest.mark.parametrize("kind", CRCS)
@given(content=st.binary(max_size=300), cuts=st.lists(st.integers(0, 300), max_size=6))
def test_the_crcs_of_parts_however_cut_make_that_of_the_whole(
    kind: str, content: bytes, cuts: list[int]
) -> None:
    ends = sorted(min(cut, len(content)) for cut in cuts)
    parts = [content[start:stop] for start, stop in pairwise([0, *ends, len(content)])]

    assert combined(kind, ((of(part, kind), len(part)) for part in parts)) == of(content, kind)


@pytest.mark.parametrize("kind", CRCS)
def test_parts_longer_than_32_bits_are_put_together_too(kind: str) -> None:
    """With S3's sizes: the CRC is the same whichever way 10 GiB and 6 bytes are grouped."""
    far = 10 * 2**30
    a, b, c = ((of(text, kind), length) for text, length in ((b"abc", 3), (b"large", far), (b"def", 3)))
    left = combined(kind, [a, b]), 3 + far
    right = combined(kind, [b, c]), far + 3

    assert combined(kind, [left, c]) == combined(kind, [a, right]) == combined(kind, [a, b, c])
    assert combined(kind, [a, b, c]) != combined(kind, [b, a, c])


@given(st.lists(st.binary(max_size=40)))
def test_bytes_in_chunks_have_the_checksums_of_the_whole(chunks: list[bytes]) -> None:
    digests = Digests(KINDS)
    for chunk in chunks:
        digests.update(memoryview(chunk))

    assert digests.checksums() == {kind: of(b"".join(chunks), kind) for kind in KINDS}


def test_of_no_kind_there_are_no_checksums() -> None:
    digests = Digests([])
    digests.update(b"x")

    assert digests.checksums() == {}


def test_only_crcs_of_parts_make_that_of_the_whole() -> None:
    assert CRCS == [CRC64NVME, "CRC32", "CRC32C"]


def cut_every(content: bytes, kind: str, part_size: int) -> Composite:
    sizes = [min(part_size, len(content) - start) for start in range(0, len(content), part_size)]
    return Composite(kind, composite_of(content, kind, sizes).value, part_size)


def passed_by(content: bytes, composite: Composite, start: int, chunk: int) -> Digests:
    """Return the digests of bytes that start at that offset and arrive in chunks."""
    digests = Digests([], composite, start)
    for place in range(0, len(content), chunk):
        digests.update(memoryview(content)[place : place + chunk])
    return digests


def test_a_composite_checksum_is_that_of_its_parts_checksums() -> None:
    """It contains the number of parts."""
    parts = b"".join(zlib.crc32(part).to_bytes(4, "big") for part in (b"abc", b"def", b"g"))
    value = b64encode(zlib.crc32(parts).to_bytes(4, "big")).decode() + "-3"
    composite = Composite("CRC32", value, 3)

    assert composite.parts == 3
    assert cut_every(b"abcdefg", "CRC32", 3) == composite
    assert passed_by(b"abcdefg", composite, 0, 7).composed() == composite


@pytest.mark.parametrize("kind", CRCS)
@given(
    content=st.binary(min_size=1, max_size=200),
    cuts=st.lists(st.integers(1, 200), max_size=6, unique=True),
    part_size=st.integers(1, 220),
    chunk=st.integers(1, 50),
    data=st.data(),
)
def test_ranges_cut_anywhere_give_the_checksum_of_the_parts(
    kind: str, content: bytes, cuts: list[int], part_size: int, chunk: int, data: st.DataObject
) -> None:
    """Neighbours are combined in any order, and the file is digested as one run."""
    composite = cut_every(content, kind, part_size)
    ends = sorted({*(cut for cut in cuts if cut < len(content)), len(content)})
    ranges = [(start, content[start:stop]) for start, stop in pairwise([0, *ends])]
    runs = [(start, len(run), passed_by(run, composite, start, chunk).pieces()) for start, run in ranges]
    for (start, run), (_, _, text) in zip(ranges, runs, strict=True):
        assert is_digest(text, kind, count=3)
        wrong = bytes([run[0] ^ 1]) + run[1:]
        assert passed_by(wrong, composite, start, chunk).pieces() != text

    while len(runs) > 1:
        at = data.draw(st.integers(0, len(runs) - 2))
        (start, first, first_pieces), (_, second, second_pieces) = runs[at : at + 2]
        both = joined_pieces(composite, start, [(first, first_pieces), (second, second_pieces)])
        runs[at : at + 2] = [(start, first + second, both)]

    [(_, size, whole)] = runs
    assert composed(composite, size, whole) == composite
    assert passed_by(content, composite, 0, chunk).pieces() == whole
    assert passed_by(content, composite, 0, chunk).composed() == composite


@pytest.mark.parametrize("kind", ["SHA1", "SHA256"])
@given(content=st.binary(min_size=1, max_size=100), part_size=st.integers(1, 120), chunk=st.integers(1, 50))
def test_a_file_read_as_one_range_gives_the_hash_of_its_parts(
    kind: str, content: bytes, part_size: int, chunk: int
) -> None:
    composite = cut_every(content, kind, part_size)

    assert passed_by(content, composite, 0, chunk).composed() == composite
    assert passed_by(content, composite, 0, chunk).pieces() == ""


def test_pieces_are_run_beside_the_checksums_of_the_whole() -> None:
    composite = Composite("CRC32", "-", 4)
    digests = Digests([CRC64NVME], composite)
    digests.update(b"abcdef")

    assert digests.checksums() == {CRC64NVME: of(b"abcdef", CRC64NVME)}
    assert digests.pieces() == passed_by(b"abcdef", composite, 0, 1).pieces()
    assert Digests([CRC64NVME]).pieces() == ""


@pytest.mark.parametrize("text", ["", "AAAA", "AAAAAA==", "not base64!!", "AAAAAAAAAAAAAAAA"])
def test_what_cannot_be_two_checksums_is_seen(text: str) -> None:
    assert not is_digest(text, "CRC32", count=2)
    assert is_digest("AAAAAAAAAAA=", "CRC32", count=2)
