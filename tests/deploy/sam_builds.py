"""A finished `sam build`; made by the fixture `sam_build`, looked at and run by the tests of `deploy/`."""

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
# And of those that gather pages.
WEB_FUNCTIONS = {
    "WebSequentialFunction": "web_sequential",
    "WebThreadsFunction": "web_threads",
    "WebAsyncioFunction": "web_asyncio",
}


@dataclass(frozen=True)
class Build:
    """What one `sam build` left, and what it printed."""

    runtime: str
    architecture: str
    directory: Path
    output: str

    @property
    def packages(self) -> Path:
        """The layer's directory that Lambda puts on Python's path."""
        return self.directory / "DependencyLayer" / "python"

    @property
    def database(self) -> Path:
        """The same of the layer with psycopg."""
        return self.directory / "DatabaseLayer" / "python"
