"""Headers of tar archives as other programs read them: Python, GNU tar, bsdtar and 7-Zip."""

import io
import shutil
import subprocess
import tarfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asyncstream.archives.entry_names import refusal
from asyncstream.archives.tar_headers import BLOCK, RECORD, padding, tar_end, tar_header
from asyncstream.errors import InputError

_STEP = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="/"), min_size=1, max_size=60)
NAMES = st.lists(_STEP, min_size=1, max_size=8).map("/".join).filter(lambda name: refusal(name) is None)
GiB = 1024**3
AWKWARD = [
    "a",
    "x" * 100,
    "x" * 101,
    "d" * 155 + "/" + "n" * 100,
    "d" * 156 + "/" + "n" * 100,
    "d" * 60 + "/" + "e" * 60 + "/" + "n" * 60,
    "ü/文.txt",
    "with spaces and ' quotes",
    "back\\slash",
    "k" * 600 + "/" + "文" * 130,
]


def pack(files: dict[str, bytes], mtime: float = 1_700_000_000) -> bytes:
    packed = b"".join(
        tar_header(name, len(body), mtime) + body + padding(len(body)) for name, body in files.items()
    )
    return packed + tar_end(len(packed))


@given(st.dictionaries(NAMES, st.binary(max_size=2000), max_size=6), st.integers(-(10**12), 10**12))
def test_python_reads_what_was_written(files: dict[str, bytes], mtime: int) -> None:
    with tarfile.open(fileobj=io.BytesIO(pack(files, mtime)), errorlevel=2) as archive:
        found = {member.name: archive.extractfile(member).read() for member in archive}  # type: ignore[union-attr]
        members = archive.getmembers()
    assert found == files
    assert all(member.mtime == mtime and member.mode == 0o644 and member.isreg() for member in members)


@given(NAMES, st.one_of(st.integers(0, 1 << 62), st.sampled_from([8 * GiB - 1, 8 * GiB])), st.floats(0, 1e10))
def test_a_header_has_name_size_and_time(name: str, size: int, mtime: float) -> None:
    header = tar_header(name, size, mtime)
    assert len(header) % BLOCK == 0
    with tarfile.open(fileobj=io.BytesIO(header)) as archive:
        member = archive.next()
    assert member is not None
    assert (member.name, member.size, member.mtime) == (name, size, mtime // 1)


@pytest.mark.parametrize(
    ("name", "size", "blocks"),
    [
        ("x" * 100, 8 * GiB - 1, 1),
        ("d" * 155 + "/" + "n" * 100, 0, 1),
        ("x" * 101, 0, 3),
        ("d" * 156 + "/" + "n" * 100, 0, 3),
        ("ü", 0, 3),
        ("x", 8 * GiB, 3),
    ],
)
def test_a_header_is_one_block_if_that_holds_it(name: str, size: int, blocks: int) -> None:
    assert len(tar_header(name, size, 0)) == blocks * BLOCK


def test_archives_end_with_whole_records() -> None:
    for length in range(0, 2 * RECORD, BLOCK):
        end = tar_end(length)
        assert not any(end)
        assert len(end) >= 2 * BLOCK
        assert (length + len(end)) % RECORD == 0


@pytest.mark.parametrize(
    "name", ["", "/x", "a/", "a//b", "./a", "../a", "a/..", "C:/x", "a\nb", "a\0b", "\udcff", "x" * 99 + "/"]
)
def test_names_that_no_archive_may_have_are_refused(name: str) -> None:
    with pytest.raises(InputError, match="cannot be packed"):
        tar_header(name, 0, 0)


COMMANDS = {
    "tar": ["tar", "-tvf", "a.tar"],
    "tar, extracting": ["tar", "-xf", "a.tar", "-C", "out"],
    "bsdtar": ["bsdtar", "-tf", "a.tar"],
    "bsdtar, extracting": ["bsdtar", "-xf", "a.tar", "-C", "out"],
    "7zz": ["7zz", "t", "a.tar"],
}


@pytest.mark.parametrize("command", COMMANDS.values(), ids=COMMANDS.keys())
def test_programs_read_it_without_a_warning(tmp_path: Path, command: list[str]) -> None:
    if shutil.which(command[0]) is None:
        pytest.skip(f"{command[0]} is not installed.")
    names = [name for name in AWKWARD if len(name) < 500]  # folders on a disk have short names
    files = {name: name.encode() * number * 50 for number, name in enumerate(names)}
    (tmp_path / "a.tar").write_bytes(pack(files))
    (tmp_path / "out").mkdir()
    run = subprocess.run(
        command, cwd=tmp_path, capture_output=True, check=True, text=True, env={"LC_ALL": "C.UTF-8"}
    )
    assert run.stderr == ""
    assert "WARNING" not in run.stdout.upper()
    if "out" in command:
        written = {
            str(path.relative_to(tmp_path / "out")): path.read_bytes()
            for path in (tmp_path / "out").rglob("*")
            if path.is_file()
        }
        assert written == files


def test_the_same_file_gives_the_same_bytes() -> None:
    for name in AWKWARD:
        assert tar_header(name, 5, 7.25) == tar_header(name, 5, 7)
