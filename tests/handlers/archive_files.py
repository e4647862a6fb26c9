"""Archives for the tests of handlers."""

import io
import zipfile
from collections.abc import Mapping

FILES = {"a.csv": b"1,2\n" * 100, "deep/b.csv": b"3,4\n", "deep/c.txt": b"text" * 500, "empty": b""}


def pack(files: Mapping[str, bytes] = FILES, method: int = zipfile.ZIP_DEFLATED) -> bytes:
    """Return a ZIP archive of these files."""
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", method) as archive:
        for name, body in files.items():
            archive.writestr(zipfile.ZipInfo(name), body, method)  # of 1980: the same bytes each time
    return packed.getvalue()


def mark_encrypted(archive: bytes, name: str) -> bytes:
    """Return an archive whose directory says that one file is encrypted, so that only this one fails."""
    marked = bytearray(archive)
    row = archive.index(name.encode(), archive.index(b"PK\x01\x02")) - 46
    assert archive[row : row + 4] == b"PK\x01\x02"
    marked[row + 8] |= 1
    return bytes(marked)
