"""Files transformed on the way, with every engine: their bytes in S3, and failures that leave nothing.

`tests/unit` tests the transforms alone.
"""

import bz2
import csv
import gzip
import io
import json
import lzma
import subprocess
from functools import cache, partial
from shutil import which
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from asyncstream import KiB, MiB, S3Object
from asyncstream.errors import (
    ConfigError,
    CorruptInput,
    DestinationExists,
    OutputTooLarge,
    TransformError,
)
from asyncstream.lab.s3 import LabS3
from asyncstream.transforms import Zstd, map_csv, map_json_lines, map_lines, with_name
from asyncstream.transforms.codecs import ZSTD
from asyncstream.transforms.gzip import library
from tests.lacking import lacking
from tests.servers import Bucket, S3Server, content

from .fixture_types import Copy, NothingIsLeft, Pairs

zstd = library(ZSTD)

on_the_lab = pytest.mark.parametrize("server", ["lab"], indirect=True)

PART = 5 * MiB


def zstandard(body: bytes) -> bytes:
    """Compress with a checksum, as the zstd program does."""
    packed: bytes = zstd.compress(body, options={zstd.CompressionParameter.checksum_flag: 1})
    return packed


# Functions that pack plain bytes, cached for all engines, and functions that unpack.
PACK = {
    "gunzip": cache(partial(gzip.compress, compresslevel=1)),
    "bunzip2": cache(bz2.compress),
    "unxz": cache(lzma.compress),
    "unzstd": cache(zstandard),
}
UNPACK = {"gzip": gzip.decompress, "zstd": zstd.decompress}


def words(size: int, seed: object = 0) -> bytes:
    """Return text that gzip reduces to a third, in which no two lines are alike."""
    block = " ".join(content(40 * KiB, seed).hex(" ", 3).split()).encode()
    lines = b"".join(b"%d %s\n" % (n, block[n % 997 : n % 997 + 90]) for n in range(size // 90 + 1))
    return lines[:size]


# Fills two parts: incompressible bytes, and text that even bzip2 and xz process quickly.
LONG = content(1 * MiB) + b"".join(b"%d %s\n" % (n, b"x" * 1000) for n in range(5000))


def test_what_is_packed_is_unpacked_again_on_every_server(copy: Copy, bucket: Bucket, pairs: Pairs) -> None:
    """The short files take one PUT, the long one takes parts."""
    bodies = {"short": words(1000), "empty": b"", "long": content(6 * MiB)}
    for name, body in bodies.items():
        bucket.put(name, body)
    copy(pairs(*bodies), transform="gzip").raise_for_failures()
    assert {name: gzip.decompress(bucket.get(f"copies/{name}")) == body for name, body in bodies.items()} == (
        dict.fromkeys(bodies, True)
    )
    back = [
        (S3Object(bucket.name, f"copies/{name}"), S3Object(bucket.name, f"back/{name}")) for name in bodies
    ]
    report = copy(back, transform="gunzip")
    report.raise_for_failures()
    assert {name: bucket.get(f"back/{name}") == body for name, body in bodies.items()} == (
        dict.fromkeys(bodies, True)
    )
    assert [file.parts for file in report.files] == [1, 1, 2]
    assert bucket.uploads() == []


# Bodies that fit one part.
SHORT = st.one_of(st.binary(max_size=300), st.integers(1, 300 * KiB).map(words))
CONFIGS = st.fixed_dictionaries(
    {
        "chunk_size": st.sampled_from([16 * KiB, 100_000, 256 * KiB]),
        "part_size": st.integers(PART, len(LONG) - 1),
    }
)


@on_the_lab
@pytest.mark.parametrize("name", [*PACK, *UNPACK])
@pytest.mark.varied("name", engine="threads")
@settings(
    max_examples=3,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(short=SHORT, config=CONFIGS)
def test_built_in_transforms_make_what_other_programs_do(
    copy: Copy, bucket: Bucket, pairs: Pairs, name: str, short: bytes, config: dict[str, int]
) -> None:
    """`tests/unit` tests where chunks end."""
    bucket.empty()
    sources = {"short": short, "long": LONG if name in PACK else content(len(LONG))}
    for key, body in sources.items():
        bucket.put(key, PACK[name](body) if name in PACK else body)
    report = copy(pairs(*sources), transform=name, **config)
    report.raise_for_failures()
    assert [file.parts for file in report.files] == [1, 2]
    for key, body in sources.items():
        made = bucket.get(f"copies/{key}")
        assert (UNPACK[name](made) if name in UNPACK else made) == body
    assert bucket.uploads() == []


PROGRAMS = {
    "gunzip": ["gzip", "-c"],
    "bunzip2": ["bzip2", "-1c"],
    "unxz": ["xz", "-1c"],
    "unzstd": ["zstd", "-c"],
}


@cache
def packed_by_program(name: str, body: bytes) -> bytes:
    return subprocess.run(PROGRAMS[name], input=body, capture_output=True, check=True).stdout


@on_the_lab
@pytest.mark.parametrize("name", PROGRAMS)
@pytest.mark.varied("name", engine="threads")
def test_what_the_programs_pack_is_unpacked_in_several_parts(
    copy: Copy, bucket: Bucket, pairs: Pairs, name: str
) -> None:
    if which(PROGRAMS[name][0]) is None:
        lacking(f"{PROGRAMS[name][0]} is not installed")
    bucket.put("file", packed_by_program(name, LONG))
    report = copy(pairs("file"), transform=name)
    report.raise_for_failures()
    assert report.files[0].parts == 2
    assert bucket.get("copies/file") == LONG
    # The test's own client, boto3, sends CRC32.
    assert (report.files[0].read_verified, report.files[0].write_verified) == ("CRC32", "CRC64NVME")


@on_the_lab
def test_a_chain_makes_what_its_links_do_one_after_the_other(
    copy: Copy, bucket: Bucket, pairs: Pairs
) -> None:
    body = words(12 * MiB)
    bucket.put("file", gzip.compress(body, 1))
    copy(pairs("file"), transform=["gunzip", Zstd]).raise_for_failures()
    assert zstd.decompress(bucket.get("copies/file")) == body


def upper(chunk: bytes) -> bytes:
    return chunk.upper()


@on_the_lab
def test_a_users_functions_run_on_chunks_lines_and_records(copy: Copy, bucket: Bucket, pairs: Pairs) -> None:
    text = words(6 * MiB)
    rows: list[dict[str, Any]] = [{"n": n, "of": 'ü, "x"\n' * (n % 3)} for n in range(5000)]
    as_json = b"".join(json.dumps(row).encode() + b"\n" for row in rows)
    as_csv = io.StringIO()
    writer = csv.DictWriter(as_csv, ["n", "of"])
    writer.writeheader()
    writer.writerows(rows)
    bucket.put("file", text)
    bucket.put("json", as_json)
    bucket.put("csv", as_csv.getvalue().encode())

    def make(key: str, transform: Any) -> None:
        copy(pairs(key), transform=transform).raise_for_failures()

    make("file", upper)
    assert bucket.get("copies/file") == text.upper()
    make("file", f"{__name__}:upper")
    make("file", map_lines(lambda line: line[::-1] if b"7" in line[:5] else None))
    expected = [line[::-1] for line in text.split(b"\n") if b"7" in line[:5]]
    assert bucket.get("copies/file").removesuffix(b"\n").split(b"\n") == expected
    make("json", map_json_lines(lambda row: {**row, "n": -row["n"]} if row["n"] % 2 else None))
    made = [json.loads(line) for line in bucket.get("copies/json").splitlines()]
    assert made == [{**row, "n": -row["n"]} for row in rows[1::2]]
    make("csv", map_csv(lambda row: {"of": row["of"]} if int(row["n"]) > 9 else None))
    read = list(csv.DictReader(io.StringIO(bucket.get("copies/csv").decode(), newline="")))
    assert read == [{"of": row["of"]} for row in rows[10:]]


@on_the_lab
def test_one_failing_file_says_where_and_spares_the_others(
    copy: Copy, bucket: Bucket, pairs: Pairs, nothing_is_left: NothingIsLeft
) -> None:
    lines = words(6 * MiB).split(b"\n")
    for name in "abc":
        bucket.put(name, b"\n".join([*lines, b"bad" if name == "b" else b"good"]))

    def picky(line: bytes) -> bytes:
        if line == b"bad":
            raise KeyError("no such thing")
        return line

    report = copy(pairs(*"abc"), transform=map_lines(picky))
    assert [file.status for file in report.files] == ["copied", "failed", "copied"]
    error = report.files[1].error
    assert isinstance(error, TransformError)
    assert f"line {len(lines) + 1}, at byte {sum(map(len, lines)) + len(lines)}" in str(error)
    assert f"{__file__}:{picky.__code__.co_firstlineno + 2} in picky" in str(error)
    assert isinstance(error.__cause__, (KeyError, TransformError))
    nothing_is_left(kept=["a", "c"])


@cache
def bomb() -> bytes:
    return gzip.compress(bytes(80_000_000), 9)


@on_the_lab
@pytest.mark.parametrize("limit", [{}, {"max_ratio": None, "max_output": 20 * MiB}], ids=["ratio", "output"])
def test_a_bomb_goes_off_nowhere(
    copy: Copy, bucket: Bucket, pairs: Pairs, nothing_is_left: NothingIsLeft, limit: dict[str, Any]
) -> None:
    bucket.put("bomb", bomb())
    [result] = copy(pairs("bomb"), transform="gunzip", memory_limit=24 * MiB, **limit).files
    assert isinstance(result.error, OutputTooLarge)
    nothing_is_left()


@on_the_lab
@pytest.mark.parametrize("size", [3000, 6 * MiB], ids=["in the first part", "in a later part"])
@pytest.mark.parametrize("how", ["truncated", "changed", "trailing", "other"])
@pytest.mark.varied("how", engine="threads")
def test_what_is_damaged_fails_by_its_name(
    copy: Copy, bucket: Bucket, pairs: Pairs, nothing_is_left: NothingIsLeft, size: int, how: str
) -> None:
    packed = PACK["gunzip"](content(size))
    changed = packed[:-1000] + bytes(byte ^ 255 for byte in packed[-1000:-990]) + packed[-990:]
    damaged = {"truncated": packed[:-20], "changed": changed, "trailing": packed + b"more", "other": b"none"}
    bucket.put("file", damaged[how])
    [result] = copy(pairs("file"), transform="gunzip").files
    assert isinstance(result.error, CorruptInput)
    nothing_is_left()


@on_the_lab
@pytest.mark.parametrize("name", [*PACK, *UNPACK])
@pytest.mark.varied("name", engine="threads")
def test_an_empty_file_can_be_packed_but_not_unpacked(
    copy: Copy, bucket: Bucket, pairs: Pairs, nothing_is_left: NothingIsLeft, name: str
) -> None:
    bucket.put("file", b"")
    [result] = copy(pairs("file"), transform=name).files
    if name in PACK:
        assert isinstance(result.error, CorruptInput)
        nothing_is_left()
    else:
        assert UNPACK[name](bucket.get("copies/file")) == b""


@on_the_lab
@pytest.mark.parametrize(
    ("size", "parts", "operations"),
    [
        (0, 1, {"PutObject": 1}),
        (PART - 1, 1, {"PutObject": 1}),
        # The engine learns that the output ends only after the part is full.
        (PART, 1, {"CreateMultipartUpload": 1, "UploadPart": 1, "CompleteMultipartUpload": 1}),
        (2 * PART, 2, {"CreateMultipartUpload": 1, "UploadPart": 2, "CompleteMultipartUpload": 1}),
        (2 * PART + 1, 3, {"CreateMultipartUpload": 1, "UploadPart": 3, "CompleteMultipartUpload": 1}),
    ],
)
def test_output_of_any_length_takes_one_get_and_as_few_writes(
    copy: Copy, bucket: Bucket, pairs: Pairs, size: int, parts: int, operations: dict[str, Any]
) -> None:
    bucket.put("file", gzip.compress(content(size), 0))
    report = copy(pairs("file"), transform="gunzip")
    report.raise_for_failures()
    assert dict(report.requests) == {"GetObject": 1, **operations}
    assert report.files[0].parts == parts
    assert bucket.get("copies/file") == content(size)


@on_the_lab
@pytest.mark.parametrize("size", [1000, 6 * MiB])
def test_files_are_skipped_unless_transform_or_source_changes(
    copy: Copy, bucket: Bucket, pairs: Pairs, size: int
) -> None:
    bucket.put("file", content(size))

    def status(transform: Any) -> str:
        report = copy(pairs("file"), transform=transform, if_exists="skip")
        report.raise_for_failures()
        return report.files[0].status

    keep, drop = map_lines(bytes), map_lines(upper)
    asked = ["gzip", "gzip", "zstd", keep, keep, drop, None, None, "gzip"]
    done = ["copied", "skipped", "copied", "copied", "skipped", "copied", "copied", "skipped", "copied"]
    assert [status(transform) for transform in asked] == done
    bucket.put("file", content(size, "another"))
    assert status("gzip") == "copied"
    assert gzip.decompress(bucket.get("copies/file")) == content(size, "another")


@on_the_lab
def test_skip_needs_the_name_of_a_lambda(copy: Copy, bucket: Bucket, pairs: Pairs) -> None:
    bucket.put("file", b"text")
    with pytest.raises(ConfigError, match=r"with_name\("):
        copy(pairs("file"), transform=lambda chunk: chunk, if_exists="skip")
    named = with_name("same v1", lambda chunk: chunk)
    reports = [copy(pairs("file"), transform=named, if_exists="skip") for _ in range(2)]
    assert [report.files[0].status for report in reports] == ["copied", "skipped"]
    copy(pairs("file"), transform=lambda chunk: chunk).raise_for_failures()


@on_the_lab
@pytest.mark.parametrize("size", [1000, 6 * MiB])
def test_fail_leaves_what_is_there(copy: Copy, bucket: Bucket, pairs: Pairs, size: int) -> None:
    bucket.put("file", content(size))
    bucket.put("copies/file", b"precious")
    [result] = copy(pairs("file"), transform="gzip", if_exists="fail").files
    assert isinstance(result.error, DestinationExists)
    assert bucket.get("copies/file") == b"precious"
    assert bucket.uploads() == []


@pytest.mark.parametrize("size", [1000, 6 * MiB])
def test_headers_about_encoding_are_dropped_and_others_kept(
    copy: Copy, bucket: Bucket, pairs: Pairs, size: int
) -> None:
    kept = {"Metadata": {"owner": "team"}, "CacheControl": "private"}
    packed = gzip.compress(content(size), 0)
    bucket.put("file", packed, ContentType="application/gzip", **kept)
    bucket.put("typed", packed, ContentType="text/csv", ContentEncoding="gzip", **kept)
    copy(pairs("file", "typed"), transform="gunzip").raise_for_failures()
    file, typed = (bucket.head(f"copies/{name}") for name in ("file", "typed"))
    for head in (file, typed):
        assert {name: head[name] for name in kept} == kept
        assert not head.get("ContentEncoding")
    assert file.get("ContentType") != "application/gzip"
    assert typed["ContentType"] == "text/csv"
    own = {"ContentType": "application/x-own", "ContentEncoding": "gzip"}
    copy(pairs("file"), transform="gunzip", extra_args=own).raise_for_failures()
    head = bucket.head("copies/file")
    assert {name: head[name] for name in own} == own


@on_the_lab
@pytest.mark.parametrize("verify", ["before", "after", "off"])
@pytest.mark.varied("verify", engine="threads")
@pytest.mark.parametrize("size", [1000, 1 * MiB, 11 * MiB])
def test_bytes_are_compared_on_both_sides_as_far_as_wanted(
    copy: Copy, bucket: Bucket, pairs: Pairs, lab: LabS3, verify: str, size: int
) -> None:
    lab.declare(bucket.name, [("file", size)], checksum="CRC32")
    report = copy(pairs("file"), transform="gzip", verify=verify)
    report.raise_for_failures()
    told = (report.files[0].read_verified, report.files[0].write_verified)
    assert told == ((None, None) if verify == "off" else ("CRC32", "CRC64NVME"))
    assert gzip.decompress(bucket.get("copies/file")) == bucket.get("file")


@on_the_lab
def test_what_cannot_be_is_refused_before_anything_is_read(
    copy: Copy, server: S3Server, bucket: Bucket, pairs: Pairs
) -> None:
    bucket.put("file", b"x")
    with server.counted() as sent:
        with pytest.raises(ConfigError, match="too small for a transform"):
            copy(pairs("file"), transform="gzip", memory_limit=4 * MiB)
        with pytest.raises(ConfigError, match="must be one of"):
            copy(pairs("file"), transform="rar")
    assert not sent
