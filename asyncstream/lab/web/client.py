"""`LabWeb`: starts the lab's web as a process."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Any

from asyncstream.lab.server_process import COMMAND_SECONDS, ServerProcess
from asyncstream.lab.web.model import WebModel, page_urls


class LabWeb(ServerProcess):
    """A running web; a context manager. Its hosts are loopback addresses, which the fetcher must allow.

    Args:
        model: the model of its pages.
        hosts: number of hosts.

    Raises:
        LabError: the web did not start.
    """

    ALLOWED_NETWORKS = ("127.0.0.0/8",)

    def __init__(self, model: WebModel, hosts: int = 1) -> None:
        super().__init__("asyncstream.lab.web", "--hosts", str(hosts), "--model", json.dumps(asdict(model)))
        self.origins: list[str] = self.ready["origins"]

    def urls(self, count: int) -> list[str]:
        """Return the URLs of the first `count` pages, distributed over the hosts."""
        return page_urls(self.origins, count)

    def counts(self) -> dict[str, Any]:
        """Return the counts. See `Origin.counts`."""
        return self._ask(b"counts")

    def reset(self) -> None:
        """Reset the counts. See `Origin.reset`."""
        self._ask(b"reset")

    def _ask(self, command: bytes) -> dict[str, Any]:
        self.write(command)
        counts: dict[str, Any] = json.loads(self.next_line(COMMAND_SECONDS))
        return counts
