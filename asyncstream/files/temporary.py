"""Files that are being written: their temporary names, and the list of parts that are on the disk.

`.name.ID.asyncstream` has the bytes, in the folder of the file that it will become: a rename does not cross
file systems. `.name.ID.asyncstream-parts` has a line for each part of an upload. A killed process leaves
both; `asyncstream clean` removes old ones.
"""

import os
import re
from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from secrets import token_hex

from msgspec import DecodeError, json

from asyncstream.errors import UploadGone
from asyncstream.files.walking import walk
from asyncstream.locations import LocalFile, LocalFolder
from asyncstream.objects import CompletedPart, MultipartUpload, OpenUpload

_SUFFIX, _PARTS = ".asyncstream", ".asyncstream-parts"
_ID = re.compile("[0-9a-f]{16}")
# No file is called "" or ".".
_NAME = re.compile(rf"\.([^.].*|\..+)\.({_ID.pattern})\.asyncstream(-parts)?", re.DOTALL)
# Bytes of the longest name in the usual file systems, less those that are added to it.
_LONGEST_NAME = 255 - len("..0123456789abcdef.asyncstream-parts")
_decode_part = json.Decoder(CompletedPart).decode


def new_upload(target: LocalFile) -> MultipartUpload:
    """Return a new upload of a file, without creating anything on the disk."""
    return MultipartUpload(target, token_hex(8))


def bytes_path(upload: MultipartUpload) -> Path:
    """Return the path of an upload's bytes.

    Raises:
        UploadGone: its id is not one of ours. A continuation may come from any event.
    """
    return _path(upload, _SUFFIX)


def parts_path(upload: MultipartUpload) -> Path:
    """Return the path of the list of an upload's parts; see `bytes_path`."""
    return _path(upload, _PARTS)


def _path(upload: MultipartUpload, suffix: str) -> Path:
    assert isinstance(upload.target, LocalFile)  # noqa: S101 - S3 has uploads of its own
    if not _ID.fullmatch(upload.upload_id):
        raise UploadGone(f"{upload.upload_id!r:.100} is not an upload of {upload.target}")
    target = Path(upload.target.path)
    name = os.fsdecode(os.fsencode(target.name)[:_LONGEST_NAME])
    return target.with_name(f".{name}.{upload.upload_id}{suffix}")


def is_temporary(path: str) -> bool:
    """Whether a path is that of a file being written, or of a list of its parts."""
    return _NAME.fullmatch(path.rpartition("/")[2]) is not None


def part_line(part: CompletedPart) -> bytes:
    """Return the line of a part in the list."""
    return json.encode(part) + b"\n"


def read_parts(path: Path) -> Iterator[CompletedPart]:
    """Yield the parts in a list, without damaged lines.

    A machine that crashes may leave half a line, to which the next transfer appends its first one.
    """
    for line in path.read_bytes().split(b"\n")[:-1]:
        with suppress(DecodeError):
            yield _decode_part(line)


def uploads_under(folder: LocalFolder) -> Iterator[OpenUpload]:
    """Yield the uploads that no transfer has finished, with the time of their last byte."""
    for path, facts in walk(folder.path):
        match = _NAME.fullmatch(path.rpartition("/")[2])
        if match is not None and match[3] is None:
            target = LocalFile(str(Path(folder.path, path).with_name(match[1])))
            yield OpenUpload(target, match[2], datetime.fromtimestamp(facts.st_mtime, UTC))
