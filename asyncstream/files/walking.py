"""List the files of a folder and its subfolders."""

import os
import stat
from collections.abc import Iterator
from errno import ELOOP, ENOENT, ENOTDIR
from operator import itemgetter

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
        path, entry = left.pop()
        if path.endswith("/"):
            left += _entries(entry.path, path)
            continue
        try:
            facts = entry.stat()
        except OSError as error:
            if error.errno in _NOTHING_THERE:
                continue
            raise
        if stat.S_ISREG(facts.st_mode):
            yield path, facts


def _entries(folder: str, path: str) -> list[tuple[str, "os.DirEntry[str]"]]:
    """Return the entries of a folder by their paths, the last one first."""
    with os.scandir(folder) as entries:
        # A folder sorts as the start of its files' paths do.
        named = [(path + each.name + "/" * each.is_dir(follow_symlinks=False), each) for each in entries]
    return sorted(named, key=itemgetter(0), reverse=True)
