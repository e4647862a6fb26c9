"""Runs a real handler in a process whose memory a control group limits, as Lambda limits a function's."""

import json
import time
import uuid
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from asyncstream.engines.closing import Closing
from asyncstream.lab.sandbox.environment import Environment
from asyncstream.lab.sandbox.function import Function
from asyncstream.lab.sandbox.limits import Group, Limits
from asyncstream.lab.sandbox.runtime_api import Event

from .base import CREDENTIALS

ROOT = Path(__file__).parents[2]
WHOLE_CPU = 1.0

# Invokes a handler with an event, in an environment of its own, and returns the handler's reply.
Invoke = Callable[..., Any]


class SmallFunction(Closing):
    """One execution environment of a function; a context manager.

    The function has a whole CPU: with the 0.07 CPU of a 128 MB function a test would take minutes, and the
    memory is the same.

    Args:
        handler: for example "handlers.threads.handler".
        limits: the limits of this machine; see `open_limits`.
        environment: variables besides Lambda's own and the credentials for the test servers.
        memory_mb: MiB; the kernel kills a process that uses more.
        timeout: seconds; handlers reserve up to two of them for their reply.
        code: a directory to import modules from, besides the project's.

    Attributes:
        peak_bytes: the largest resident size of the process in its last invocation, in bytes.
    """

    def __init__(
        self,
        handler: str,
        limits: Limits,
        environment: Mapping[str, str],
        *,
        memory_mb: int = 128,
        timeout: float = 60.0,
        code: Path | None = None,
    ) -> None:
        self.peak_bytes = 0
        self._function = Function(
            name=handler.split(".")[1].replace(".", "-"),
            handler=handler,
            code=[ROOT, *([code] if code else [])],
            memory_mb=memory_mb,
            timeout=timeout,
            environment={**CREDENTIALS, **environment},
        )
        self._environment = Environment(self._function, _MemoryOnly(limits), None)

    def invoke(self, event: Any) -> Any:
        """Return the handler's reply.

        Raises:
            AssertionError: the kernel killed the process, or the handler raised or timed out; has the log.
        """
        request_id = str(uuid.uuid4())
        headers = {
            "Lambda-Runtime-Aws-Request-Id": request_id,
            "Lambda-Runtime-Deadline-Ms": str(int((time.time() + self._function.timeout) * 1000)),
            "Lambda-Runtime-Invoked-Function-Arn": self._function.arn,
        }
        end = self._environment.invoke(Event(json.dumps(event).encode(), headers), request_id)
        self.peak_bytes = end.observed.peak_bytes
        assert end.problem is None, f"{end.problem}\n{end.log.decode(errors='replace')[-2_000:]}"
        return json.loads(end.payload)

    def close(self) -> None:
        """End the process."""
        self._environment.close()


class _MemoryOnly:
    """Limits memory, and gives every function a whole CPU."""

    def __init__(self, limits: Limits) -> None:
        self.description = limits.description
        self._limits = limits

    def group(self, memory_mb: int) -> Group:
        return _CpuKept(self._limits.group(memory_mb))


class _CpuKept:
    def __init__(self, group: Group) -> None:
        self._group = group
        group.set_cpu(WHOLE_CPU)

    def set_cpu(self, vcpus: float) -> None:
        """Keep a whole CPU."""

    def __getattr__(self, name: str) -> Any:
        return getattr(self._group, name)
