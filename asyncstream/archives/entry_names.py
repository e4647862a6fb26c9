"""The names of files in archives, checked: an archive may be hostile, and a pack must not be. Pure."""

import re

_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_DRIVE = re.compile(r"[A-Za-z]:")


def refusal(name: str) -> str | None:
    """Return why no file may have this name; None if one may.

    A key cannot leave its prefix, but a program that copies keys to a disk could write outside its folder.
    """
    if _CONTROL.search(name):
        return "its name has control characters"
    if name.startswith("/") or _DRIVE.match(name):
        return "its name is absolute"
    steps = name.removesuffix("/").split("/")
    if any(step in {"", ".", ".."} for step in steps):
        return "its name has an empty step, `.` or `..`"
    return None
