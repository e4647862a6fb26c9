"""List the files of a folder and its subfolders."""

import os
import stat
from collections.abc import Iterator
from errno import ELOOP, ENOENT, ENOTDIR

# What tells that a file was removed, or that a link leads to nothing.
_NOTHING_THERE = frozenset({ENOENT, ENOTDIR, ELOOP})


def walk(folder: str) -> Iterator[tuple[str, os.stat_result]]:
    """Yield the path within the folder and the facts of each regular file, in the order of the paths.

    Links to files are followed, links to folders are not: they could lead back. A file that is removed
    meanwhile, and a link to nothing, are left out.

    Raises:
        OSError: a folder cannot be read.
    """
    left = _entries(folder, "")
    while left:
        path = left.pop()
        if path.endswith("/"):
            left += _entries(folder, path)
            continue
        try:
            facts = os.stat(os.path.join(folder, path))  # noqa: PTH116, PTH118 - a Path takes longer
        except OSError as error:
            if error.errno in _NOTHING_THERE:
                continue
            raise
        if stat.S_ISREG(facts.st_mode):
            yield path, facts


def _entries(folder: str, path: str) -> list[str]:
    """Return the paths within the folder of what is at this path, the last one first.

    A folder's ends with a slash, so that it sorts as the start of its files' paths do.
    """
    with os.scandir(os.path.join(folder, path)) as entries:  # noqa: PTH118
        # Not the entries: a folder of a million files has as many, of 300 bytes each.
        named = [path + each.name + "/" * each.is_dir(follow_symlinks=False) for each in entries]
    return sorted(named, reverse=True)
