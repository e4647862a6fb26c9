"""Folders of any depth and any number of files are listed."""

import inspect
import sys
import tracemalloc
from pathlib import Path

from asyncstream.files.walking import walk


def test_folders_may_be_deeper_than_the_stack(tmp_path: Path) -> None:
    deep = tmp_path.joinpath(*["d"] * 200)
    deep.mkdir(parents=True)
    (deep / "x").touch()
    usual = sys.getrecursionlimit()
    try:
        sys.setrecursionlimit(len(inspect.stack()) + 100)
        found = [path for path, _ in walk(str(tmp_path))]
    finally:
        sys.setrecursionlimit(usual)
    assert found == ["d/" * 200 + "x"]


def test_a_file_of_a_folder_takes_a_path_of_memory(tmp_path: Path) -> None:
    for number in range(2_000):
        (tmp_path / f"{number:04d}").touch()
    tracemalloc.start()
    try:
        assert sum(1 for _ in walk(str(tmp_path))) == 2_000
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert most < 2_000 * 150
