"""List the files of a folder and its subfolders."""

import os
import stat
from collections.abc import Iterator
from errno import ELOOP, ENOENT, ENOTDIR

# The errors of a file that was removed, and of a link to nothing.
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
    """Return the entries of the subfolder at `path`, as paths within `folder`, in reverse order.

    The path of a folder ends with a slash, so that it sorts like the paths of its files.
    """
    with os.scandir(os.path.join(folder, path)) as entries:  # noqa: PTH118
        # Keep their paths only: an entry has 300 bytes, and a folder may have a million files.
        named = [path + each.name + "/" * each.is_dir(follow_symlinks=False) for each in entries]
    return sorted(named, reverse=True)
