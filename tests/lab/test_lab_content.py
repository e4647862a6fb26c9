import os
import zlib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asyncstream.lab.s3.checksums import crc64nvme
from asyncstream.lab.s3.content import (
    BLOCK_SIZE,
    Content,
    FileContent,
    JoinedContent,
    SyntheticContent,
    block,
)


def expected_bytes(key: str, start: int, stop: int) -> bytes:
    """Return the bytes by the definition of the content, without its shortcuts."""
    shift = zlib.crc32(key.encode())
    first = (start + shift) % BLOCK_SIZE
    repeated = block() * ((stop - start) // BLOCK_SIZE + 2)
    return repeated[first : first + stop - start]


def read(content: Content, start: int, stop: int) -> bytes:
    return b"".join(os.pread(fd, length, offset) for fd, offset, length in content.slices(start, stop))


def test_the_block_size_is_a_prime_near_one_mebibyte() -> None:
    assert all(BLOCK_SIZE % divisor for divisor in range(2, 1025))


def test_a_byte_is_where_the_formula_puts_it() -> None:
    content = SyntheticContent("some key", 3 * BLOCK_SIZE)
    for position in (0, 1, BLOCK_SIZE - 1, BLOCK_SIZE, 2 * BLOCK_SIZE + 17):
        index = (position + zlib.crc32(b"some key")) % BLOCK_SIZE
        assert read(content, position, position + 1)[0] == block()[index]


@given(st.text(max_size=8), st.integers(0, 4 * BLOCK_SIZE), st.integers(0, 3 * BLOCK_SIZE))
def test_any_range_is_byte_exact(key: str, start: int, length: int) -> None:
    content = SyntheticContent(key, 8 * BLOCK_SIZE)
    assert read(content, start, start + length) == expected_bytes(key, start, start + length)


@given(
    st.text(max_size=8),
    st.one_of(
        st.integers(0, 3 * BLOCK_SIZE),
        st.sampled_from([0, 1, BLOCK_SIZE, 2 * BLOCK_SIZE, 7 * BLOCK_SIZE + 5]),
    ),
)
def test_the_checksum_is_that_of_the_bytes(key: str, size: int) -> None:
    assert SyntheticContent(key, size).crc64nvme() == crc64nvme(memoryview(expected_bytes(key, 0, size)))


def test_the_checksum_of_a_terabyte_takes_no_time() -> None:
    assert SyntheticContent("k", 10**12).crc64nvme() != SyntheticContent("k", 10**12 + 1).crc64nvme()


def test_keys_differ_in_content() -> None:
    assert SyntheticContent("a", 1000).crc64nvme() != SyntheticContent("b", 1000).crc64nvme()


@pytest.fixture
def files(tmp_path: Path) -> list[tuple[FileContent, int]]:
    contents = []
    for number, data in enumerate([b"0123", b"", b"456", b"789"]):
        content = FileContent(tmp_path / str(number))
        content.path.write_bytes(data)
        contents.append((content, len(data)))
    return contents


def test_joined_parts_read_as_one(files: list[tuple[FileContent, int]]) -> None:
    joined = JoinedContent(files)
    for start in range(11):
        for stop in range(start, 11):
            assert read(joined, start, stop) == b"0123456789"[start:stop]


def test_a_file_goes_with_the_last_reference_to_its_content(files: list[tuple[FileContent, int]]) -> None:
    path = files[0][0].path
    joined = JoinedContent([files[0]])
    files.clear()
    assert path.exists()
    del joined
    assert not path.exists()
