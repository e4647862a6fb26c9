"""A finished `sam build`."""

import platform
from dataclasses import dataclass
from pathlib import Path

# The template's name for this machine's instruction set, and the runtimes that it allows.
ARCHITECTURE = {"aarch64": "arm64"}.get(platform.machine(), platform.machine())
RUNTIMES = ("python3.13", "python3.14")

# The logical id of each function that copies, and its module in `handlers`.
FUNCTIONS = {
    "SequentialFunction": "sequential",
    "ThreadsFunction": "threads",
    "ThreadsMultipartFunction": "threads_multipart",
    "AsyncioMultipartFunction": "asyncio_multipart",
}
# The same for each function that gathers pages.
WEB_FUNCTIONS = {
    "WebSequentialFunction": "web_sequential",
    "WebThreadsFunction": "web_threads",
    "WebAsyncioFunction": "web_asyncio",
}


@dataclass(frozen=True)
class Build:
    """The directory and the output of one `sam build`."""

    runtime: str
    architecture: str
    directory: Path
    output: str

    @property
    def packages(self) -> Path:
        """The layer's directory that Lambda adds to Python's path."""
        return self.directory / "DependencyLayer" / "python"

    @property
    def database(self) -> Path:
        """The same directory of the layer with psycopg."""
        return self.directory / "DatabaseLayer" / "python"
