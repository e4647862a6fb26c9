"""MiniStack's S3, without TLS and policies; `tests/deploy/ministack.py` has both, and the other services."""

import os
from pathlib import Path

from .base import ServerProcess

# Its pins need a virtual environment of their own.
PYTHON = Path(__file__).parents[2] / ".venv" / "ministack" / "bin" / "python"


class MiniStackServer(ServerProcess):
    name = "MiniStack"

    def _command(self, port: int, directory: Path) -> list[str]:
        (directory / "tmp").mkdir()
        environ = {
            "BIND_HOST": "127.0.0.1",
            "GATEWAY_PORT": str(port),
            "LOG_LEVEL": "WARNING",
            "MINISTACK_HOST": "127.0.0.1",
            "PATH": os.environ["PATH"],
            "STATE_DIR": str(directory / "state"),
            "TMPDIR": str(directory / "tmp"),
        }
        set_to = [f"{name}={value}" for name, value in environ.items()]
        return ["env", "-i", *set_to, str(PYTHON), "-m", "ministack"]

    @staticmethod
    def _operation(line: str) -> str | None:
        raise NotImplementedError(f"no test counts MiniStack's requests: {line}")
