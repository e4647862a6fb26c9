"""List the files of a folder and its subfolders."""

import os
import stat
from collections.abc import Iterator
from operator import itemgetter


def walk(folder: str) -> Iterator[tuple[str, os.stat_result]]:
    """Yield the path within the folder and the facts of each regular file, in the order of the paths.

    Links to files are followed, links to folders are not: they could lead back. A file that is removed
    meanwhile is left out.

    Raises:
        OSError: a folder cannot be read.
    """
    return _walk(folder, "")


def _walk(folder: str, path: str) -> Iterator[tuple[str, os.stat_result]]:
    with os.scandir(folder) as entries:
        # A folder sorts as the start of its files' paths do.
        named = [(each.name + "/" * each.is_dir(follow_symlinks=False), each) for each in entries]
    for name, entry in sorted(named, key=itemgetter(0)):
        if name.endswith("/"):
            yield from _walk(entry.path, path + name)
            continue
        try:
            facts = entry.stat()
        except FileNotFoundError:  # removed, or a link to nothing
            continue
        if stat.S_ISREG(facts.st_mode):
            yield path + name, facts
