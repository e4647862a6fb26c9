"""Files and folders of this machine, and its standard streams."""

import os
from pathlib import Path
from urllib.parse import unquote

from msgspec import Struct

from asyncstream.errors import InputError

_SCHEME = "file://"


def _check_path(path: object, kind: str) -> None:
    if not isinstance(path, str) or not path or "\0" in path:
        raise InputError(f"{kind}({path!r:.300}) is not a path: it must be text, not empty, without NUL")


def _path(uri: str) -> str:
    """Return the path of a file URI (RFC 8089), without its percent-encoding."""
    rest = uri.removeprefix(_SCHEME)
    host, slash, path = rest.partition("/")
    if rest == uri or not slash or host not in {"", "localhost"}:
        raise InputError(f"{uri!r:.1100} is not the URI of a file: write file:///path/to/file")
    path = unquote(slash + path, errors="surrogateescape")
    return path.removeprefix("/") if os.name == "nt" else path


class LocalFile(Struct, frozen=True):
    """A file on this machine, or in a file system mounted there, such as EFS.

    As a source it must be a regular file, and must not change while it is read. As a destination it appears
    whole: it is written under a temporary name in its folder, and then renamed. A missing folder is created.

    Raises:
        InputError: the path is empty or has a NUL.
    """

    path: str

    def __post_init__(self) -> None:
        _check_path(self.path, "LocalFile")

    @classmethod
    def from_uri(cls, uri: str) -> "LocalFile":
        """Parse `file:///path`, percent-encoded as RFC 8089 says."""
        return cls(_path(uri))

    @property
    def uri(self) -> str:
        """The URI `file:///path` of the absolute path, as `from_uri` parses it."""
        return Path(self.path).absolute().as_uri()

    def __str__(self) -> str:
        return self.path


class LocalFolder(Struct, frozen=True):
    """All regular files in a folder and its subfolders. Links to folders are not followed.

    Raises:
        InputError: the path is empty or has a NUL.
    """

    path: str

    def __post_init__(self) -> None:
        _check_path(self.path, "LocalFolder")

    @classmethod
    def from_uri(cls, uri: str) -> "LocalFolder":
        """Parse `file:///path/`, percent-encoded as RFC 8089 says."""
        return cls(_path(uri))

    @property
    def uri(self) -> str:
        """The URI `file:///path/` of the absolute path."""
        return f"{Path(self.path).absolute().as_uri().removesuffix('/')}/"

    @property
    def prefix(self) -> str:
        """Empty: the names of files start in the folder."""
        return ""

    def __str__(self) -> str:
        return self.path

    def item(self, name: str) -> LocalFile:
        """Return the file of this name, which has slashes between its folders.

        Raises:
            InputError: the name does not stay within the folder, or no file can have it.
        """
        steps = name.split("/")
        if any(step in {"", ".", ".."} for step in steps) or "\0" in name:
            raise InputError(f"{name!r:.1100} is not the name of a file within {self.path}")
        if os.name == "nt" and any(mark in name for mark in '\\:*?"<>|'):
            raise InputError(f"{name!r:.1100} has a character that no file of Windows has in its name")
        return LocalFile(str(Path(self.path, *steps)))


class StandardStream(Struct, frozen=True):
    """Standard input as a source, standard output as a destination. A transfer of it has no other file."""

    @property
    def uri(self) -> str:
        """Its name on the command line."""
        return "-"

    def __str__(self) -> str:
        return "-"
