"""Packs of listings of many pages, from a store with scripted answers."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from asyncstream import InputError, LocalFile, LocalFolder, S3Object, S3Prefix, Tar, Zip
from asyncstream.archives.pack_layout import Layout
from asyncstream.deadline import NO_DEADLINE
from asyncstream.engines.driver import drive
from asyncstream.engines.sequential import SequentialEngine
from asyncstream.errors import S3Error
from asyncstream.files.source import FileSource
from asyncstream.locations import Pack, PackInto
from asyncstream.pipeline.context import Ends
from asyncstream.pipeline.packing import PackPlanner
from asyncstream.retry import Retrying, RetryPolicy

from .test_listing import Pages

OUT = S3Object("raw", "in/all.tar")


def plan(
    pages: Sequence[Sequence[str]], into: PackInto | None = None, *, room: float = 1e9, **ends: Any
) -> Layout:
    engine = SequentialEngine()
    retrying = Retrying(RetryPolicy(), NO_DEADLINE, engine.sleep)
    sources: dict[type, Any] = {S3Prefix: Pages(*pages)}
    planner = PackPlanner(Ends(sources, {}, retrying, **ends), engine, 1, room)
    pack = Pack(S3Prefix("raw", "in/"), into or Tar(OUT))
    [layout] = drive(planner.plan_pack(pack)).values()
    return layout


def names(layout: Layout) -> list[str]:
    return [member.name for member in layout.members]


def test_a_key_on_two_pages_is_packed_once() -> None:
    layout = plan([["in/a", "in/b"], ["in/b", "in/c"], ["in/d"]])
    assert names(layout) == ["a", "b", "c", "d"]
    assert layout.members.bytes == 4


def test_keys_in_no_order_are_all_packed_once() -> None:
    """Directory buckets list keys unordered."""
    layout = plan([["in/z", "in/b", "in/q"], ["in/a", "in/z"], ["in/q", "in/c", "in/zz"]])
    assert names(layout) == ["z", "b", "q", "a", "c", "zz"]


def test_pages_that_repeat_are_no_end() -> None:
    with pytest.raises(S3Error, match="does not advance after 2 files"):
        plan([["in/a", "in/b"]] * 3)


def test_more_files_than_there_is_memory_for_are_refused() -> None:
    pages = [[f"in/{number:05}" for number in range(page * 1000, page * 1000 + 1000)] for page in range(3)]
    assert len(names(plan(pages, room=3000 * 110))) == 3000
    with pytest.raises(InputError, match=r"2,000 files listed so far need more than the 0 MiB"):
        plan(pages, room=1500 * 80)


@pytest.mark.parametrize(
    ("into", "one_server", "left"),
    [
        (Tar(OUT), True, ["a", "all-00001.tar"]),
        (Tar(OUT), False, ["a", "all-00001.tar", "all.tar"]),
        (Tar(S3Object("other", OUT.key)), True, ["a", "all-00001.tar", "all.tar"]),
        (Tar(OUT, split=10**7), True, ["a"]),
    ],
    ids=["one server", "two servers", "another bucket", "volumes"],
)
def test_an_earlier_archive_is_left_out_where_it_is_one(
    into: PackInto, one_server: bool, left: list[str]
) -> None:
    layout = plan([["in/a", "in/all-00001.tar", "in/all.tar"]], into, one_server=one_server)
    assert names(layout) == left
    assert layout.members.left_out == 3 - len(left)


def test_an_archive_in_a_folder_is_found_by_any_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "files" / "deep").mkdir(parents=True)
    (tmp_path / "link").symlink_to(tmp_path / "files")
    for name in ("a", "all.zip", "deep/all.zip"):
        (tmp_path / "files" / name).write_bytes(b"1")
    monkeypatch.chdir(tmp_path / "files")
    engine = SequentialEngine()
    retrying = Retrying(RetryPolicy(), NO_DEADLINE, engine.sleep)
    planner = PackPlanner(Ends({LocalFolder: FileSource(engine, 1000)}, {}, retrying), engine, 1, 1e9)
    for folder in (tmp_path / "files", tmp_path / "link", "."):
        for target in ("all.zip", "deep/../all.zip", tmp_path / "link" / "all.zip"):
            pack = Pack(LocalFolder(str(folder)), Zip(LocalFile(str(target))))
            [layout] = drive(planner.plan_pack(pack)).values()
            assert names(layout) == ["a", "deep/all.zip"]
