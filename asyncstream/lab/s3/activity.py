"""The server's activity: counters, and a log of the last requests."""

from __future__ import annotations

import re
import threading
import time
from collections import Counter, deque
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

DATA_OPERATIONS = frozenset({"GetObject", "PutObject", "UploadPart"})


@dataclass(slots=True)
class LoggedRequest:
    """One request. Its times are CLOCK_MONOTONIC, which all processes of a machine share."""

    method: str
    range: str
    part_number: str
    operation: str = "unknown"
    bucket: str = ""
    key: str = ""
    start: float = field(default_factory=time.monotonic)
    end: float = 0.0
    status: int = 0
    bytes_in: int = 0
    bytes_out: int = 0


class Activity:
    """Counters since the last reset, and a bounded log."""

    def __init__(self, log_size: int) -> None:
        self._lock = threading.Lock()
        self._log: deque[LoggedRequest] = deque(maxlen=log_size)
        self._open_connections = 0
        self._running_data_requests = 0
        self.reset()

    def reset(self) -> None:
        """Reset the counters. Open connections and running requests still count towards the peaks."""
        with self._lock:
            self._log.clear()
            self._operations: Counter[str] = Counter()
            self._statuses: Counter[int] = Counter()
            self._bytes_in = self._bytes_out = self._connections = 0
            self._peak_open_connections = self._open_connections
            self._peak_data_requests = self._running_data_requests

    def connection_opened(self) -> None:
        """Count a connection."""
        with self._lock:
            self._connections += 1
            self._open_connections += 1
            self._peak_open_connections = max(self._peak_open_connections, self._open_connections)

    def connection_closed(self) -> None:
        """Count a connection as closed."""
        with self._lock:
            self._open_connections -= 1

    def request_started(self, request: LoggedRequest) -> None:
        """Count a request as running, once its operation is known."""
        if request.operation not in DATA_OPERATIONS:
            return
        with self._lock:
            self._running_data_requests += 1
            self._peak_data_requests = max(self._peak_data_requests, self._running_data_requests)

    def request_ended(self, request: LoggedRequest) -> None:
        """Count a finished or broken request. A second call for the same request does nothing."""
        if request.end:
            return
        request.end = time.monotonic()
        with self._lock:
            self._running_data_requests -= request.operation in DATA_OPERATIONS
            self._log.append(request)
            self._operations[request.operation] += 1
            self._statuses[request.status] += 1
            self._bytes_in += request.bytes_in
            self._bytes_out += request.bytes_out

    def counters(self) -> dict[str, Any]:
        """Return the counters, and the process's CPU time and peak memory since its start."""
        with self._lock:
            return {
                "operations": dict(self._operations),
                "statuses": {str(status): count for status, count in self._statuses.items()},
                "bytes_in": self._bytes_in,
                "bytes_out": self._bytes_out,
                "connections": self._connections,
                "open_connections": self._open_connections,
                "peak_open_connections": self._peak_open_connections,
                "peak_data_requests": self._peak_data_requests,
                "cpu_seconds": time.process_time(),
                "peak_rss_bytes": _peak_rss_bytes(),
            }

    def log(self) -> list[dict[str, Any]]:
        """Return the last requests, oldest first."""
        with self._lock:
            return [asdict(request) for request in self._log]


def _peak_rss_bytes() -> int:
    # Not ru_maxrss, which is the parent's after fork and exec.
    found = re.search(r"VmHWM:\s*(\d+) kB", Path("/proc/self/status").read_text())
    return int(found[1]) * 1024 if found else 0
