"""Take away what macOS or Windows lack, in a process of its own, before it imports asyncstream.

Packages that have their own ways on each platform are imported before that.
"""

import asyncio
import importlib
import mmap
import os
import select
import selectors
import signal
import socket
import sys
from asyncio import SelectorEventLoop
from collections.abc import Callable
from typing import Any

OTHERS = (
    *("aioboto3", "aiobotocore.session", "aiohttp", "anyio.to_thread", "awscrt.checksums", "boto3"),
    *("concurrent.futures.thread", "multiprocessing", "psycopg", "rich.progress", "subprocess", "urllib3"),
)


def no_limit_for_unacknowledged_bytes() -> None:
    del socket.TCP_USER_TIMEOUT


def no_proc() -> None:
    def refuse(event: str, arguments: Any) -> None:
        if event == "open" and str(arguments[0]).startswith(("/proc", "/sys")):
            raise FileNotFoundError(2, "No such file or directory", arguments[0])

    sys.addaudithook(refuse)


def no_epoll() -> None:
    del select.epoll
    selectors.DefaultSelector = selectors.SelectSelector  # type: ignore[assignment,misc]


def no_linux_calls() -> None:
    _delete(os, "sched_getaffinity", "memfd_create", "copy_file_range", "splice", "eventfd")
    _delete(select, "POLLRDHUP")


def no_poll() -> None:
    _delete(select, "poll")


def no_unix_calls() -> None:
    _delete(os, "fork", "forkpty", "register_at_fork", "sendfile", "pread", "getuid", "geteuid", "chown")


def no_unix_modules() -> None:
    for name in ("fcntl", "grp", "pwd", "resource", "termios", "tty"):
        sys.modules[name] = None  # type: ignore[assignment] # makes its import fail


def no_unix_signals() -> None:
    _delete(signal, "SIGALRM", "SIGHUP", "SIGKILL", "SIGPIPE", "SIGQUIT", "SIGUSR1", "SIGUSR2", "setitimer")
    handlers: Any = SelectorEventLoop
    handlers.add_signal_handler = asyncio.AbstractEventLoop.add_signal_handler  # NotImplementedError


def no_private_mappings() -> None:
    _delete(mmap, "MAP_SHARED", "MAP_PRIVATE", "MAP_ANON", "MAP_ANONYMOUS", "PROT_READ", "PROT_WRITE")
    _delete(mmap, *(name for name in dir(mmap) if name.startswith("MADV_")))
    original = mmap.mmap

    def mapping(fileno: int, length: int, tagname: str | None = None) -> mmap.mmap:
        return original(fileno, length)

    mmap.mmap = mapping  # type: ignore[assignment,misc]


MACOS: tuple[Callable[[], None], ...] = (
    no_limit_for_unacknowledged_bytes,
    no_proc,
    no_epoll,
    no_linux_calls,
)
LACKS = {
    "darwin": MACOS,
    "win32": (*MACOS, no_poll, no_unix_calls, no_unix_modules, no_unix_signals, no_private_mappings),
}


def simulate(platform: str) -> None:
    """Import what asyncstream stands on, then take away what the platform lacks."""
    for name in OTHERS:
        importlib.import_module(name)
    for take_away in LACKS[platform]:
        take_away()
    assert not any(name.startswith("asyncstream") for name in sys.modules)


def _delete(module: Any, *names: str) -> None:
    for name in names:
        if hasattr(module, name):
            delattr(module, name)
