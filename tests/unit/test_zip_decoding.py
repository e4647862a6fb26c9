"""The decoders of ZIP entries, and gzip files made without inflating."""

import gzip
import lzma
import struct
import sys
import tracemalloc
import zlib
from importlib import import_module

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asyncstream import ConfigError, CorruptInput, InputError, KiB, MemoryNeeded, MiB
from asyncstream.archives.decoding import Decoder, decoder_bytes, decoder_for
from asyncstream.archives.gzip_wrapping import gzip_maker, gzip_size
from asyncstream.transforms.codecs import ZSTD
from tests.servers.content import content
from tests.zip_packing import METHODS, compress, deflate64_zeros

AMPLE = 80 * MiB
SIZES = [0, 1, 65_535, 65_536, 200_000]
WINDOWED = [14, 20, 93, 95]


def decode(decoder: Decoder, data: bytes, chunk: int = 64 * KiB) -> bytes:
    made = bytearray()
    for at in range(0, len(data), chunk):
        for piece in decoder.decode(memoryview(data)[at : at + chunk]):
            assert len(piece) <= max(256 * KiB, chunk)
            made += piece
    return bytes(made + b"".join(decoder.finish()))


@pytest.mark.parametrize("method", METHODS)
@given(text=st.binary(max_size=2_000), repeated=st.integers(1, 300), chunk=st.integers(1, 70_000))
def test_any_chunks_decode_to_the_content(method: int, text: bytes, repeated: int, chunk: int) -> None:
    whole = text * repeated
    data = compress(method, whole)
    assert decode(decoder_for(method, len(whole), AMPLE), data, max(chunk, len(data) // 1000 + 1)) == whole


@pytest.mark.parametrize("method", [method for method in METHODS if method])
def test_a_bomb_is_decoded_in_small_pieces(method: int) -> None:
    zeros = bytes(1 + 400 * 65_538)
    data = deflate64_zeros(400) if method == 9 else compress(method, zeros)
    assert decode(decoder_for(method, len(zeros), AMPLE), data) == zeros


@pytest.mark.parametrize("method", [method for method in METHODS if method])
def test_other_data_are_damaged_or_end_early(method: int) -> None:
    """The directory's size finds what ends early."""
    data = bytearray(compress(method, b"some words " * 1_000))
    data[6:] = content(len(data), 3)
    try:
        made = decode(decoder_for(method, 11_000, AMPLE), bytes(data))
    except CorruptInput:
        return
    assert made != b"some words " * 1_000


def with_window(method: int, whole: bytes) -> bytes:
    """Return data that ask for a window of 16 MiB, as they are streamed without a size."""
    if method == 95:
        return lzma.compress(whole, filters=[{"id": lzma.FILTER_LZMA2, "preset": 0, "dict_size": 16 * MiB}])
    if method == 14:
        raw = [{"id": lzma.FILTER_LZMA1, "preset": 0, "dict_size": 16 * MiB}]
        return struct.pack("<HHBI", 0x1409, 5, 93, 16 * MiB) + lzma.compress(
            whole, lzma.FORMAT_RAW, filters=raw
        )
    zstd = import_module(ZSTD)
    compressor = zstd.ZstdCompressor(options={zstd.CompressionParameter.window_log: 24})
    made: bytes = compressor.compress(whole) + compressor.flush()
    return made


@pytest.mark.parametrize("method", WINDOWED)
def test_a_window_beyond_the_memory_is_refused(method: int) -> None:
    whole = content(256 * KiB) * 48
    with pytest.raises(MemoryNeeded, match="bytes of memory"):
        decode(decoder_for(method, len(whole), 4 * MiB), with_window(method, whole))


@pytest.mark.parametrize("method", WINDOWED)
def test_short_content_needs_little_memory_for_any_window(method: int) -> None:
    whole = content(1 * MiB)
    assert decode(decoder_for(method, len(whole), 4 * MiB), with_window(method, whole)) == whole
    assert decoder_bytes(method, len(whole)) <= 4 * MiB


def test_no_window_takes_more_than_xz_at_its_best() -> None:
    assert decoder_bytes(14, 1 << 40) == decoder_bytes(93, 1 << 40) < 66 * MiB
    assert decoder_bytes(8, 1 << 40) == decoder_bytes(0, 1 << 40) == decoder_bytes(98, 1 << 40) == 0


def test_lzma_properties_are_checked() -> None:
    data = compress(14, b"abc")
    for damaged in (
        data[:2] + b"\x06" + data[3:],
        data[:4] + b"\xff" + data[5:],
        data[:4] + b"\x2c" + data[5:],
    ):
        with pytest.raises(CorruptInput, match="LZMA"):
            decode(decoder_for(14, 3, AMPLE), damaged)


@pytest.mark.parametrize(("method", "name"), [(1, "Shrink"), (6, "Implode"), (98, "PPMd"), (99, "AES")])
def test_other_methods_are_named(method: int, name: str) -> None:
    with pytest.raises(InputError, match=rf"method {method} \({name}"):
        decoder_for(method, 1, AMPLE)
    with pytest.raises(InputError, match=f"method {method}"):
        gzip_size(method, 1)


def test_a_missing_library_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "inflate64", None)
    with pytest.raises(ConfigError, match=r"Deflate64.*pip install 'asyncstream\[archives\]'"):
        decoder_for(9, 1, AMPLE)


@pytest.mark.parametrize("method", [0, 8])
@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("chunk", [1_000, 65_535, 300_000])
def test_entries_become_gzip_files_of_the_size_promised(method: int, size: int, chunk: int) -> None:
    whole = content(size)
    data = compress(method, whole)
    made = decode(gzip_maker(method, size, zlib.crc32(whole)), data, chunk)
    assert gzip.decompress(made) == whole
    assert len(made) == gzip_size(method, len(data))


def test_the_size_in_a_gzip_file_is_modulo_4_gib() -> None:
    made = decode(gzip_maker(8, (5 << 30) + 7, 1), b"\x03\x00")
    assert struct.unpack("<2I", made[-8:]) == (1, (1 << 30) + 7)


def test_deflate64_keeps_nothing_of_its_input() -> None:
    """inflate64 1.0.4 keeps a reference to each object that it gets."""
    whole = content(2 * MiB)
    data = compress(9, whole)
    tracemalloc.start()
    try:
        for _ in range(3):
            chunks = (data[at : at + 64 * KiB] for at in range(0, len(data), 64 * KiB))
            decoder = decoder_for(9, len(whole), AMPLE)
            assert sum(len(piece) for chunk in chunks for piece in decoder.decode(chunk)) > len(whole) - 1000
        kept, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert kept < 1 * MiB
