"""Folders of any depth are listed."""

import inspect
import sys
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
