"""One execution environment: a function's process from its start to its end."""

import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import threading
import time
from contextlib import suppress
from pathlib import Path
from queue import Empty
from typing import Any

from msgspec import Struct

from asyncstream.lab.report.measurement import MemorySample
from asyncstream.lab.sandbox.function import Function, variables
from asyncstream.lab.sandbox.limits import Limits, NoLimits, vcpus
from asyncstream.lab.sandbox.observation import Observation
from asyncstream.lab.sandbox.runtime_api import (
    Event,
    Exited,
    Raised,
    Ready,
    Replied,
    RuntimeApi,
    RuntimeMessage,
)

BOOTSTRAP = Path(__file__).with_name("bootstrap.py")
SAMPLE_SECONDS = 0.05
MAX_LOG = 1 << 20

# The shell enters the groups before Python starts, so that all of Python's memory is charged to them.
ENTER = 'while [ "$1" != -- ]; do echo $$ > "$1" || exit 1; shift; done; shift; exec "$@"'


class InvocationOutcome(Struct, frozen=True, kw_only=True):
    """How an invocation ended.

    Attributes:
        payload: the handler's reply or the error, as JSON.
        problem: the error in `payload`; None for success.
        status: the status in the REPORT line.
        log: the function's output during the invocation.
        init_began, started, ended: seconds since the epoch.
        observed: the memory, CPU and throttling that the sandbox measured.
    """

    payload: bytes
    problem: dict[str, Any] | None
    status: str | None
    log: bytes
    init_began: float
    started: float
    ended: float
    observed: Observation


class Environment:
    """A process that serves one invocation after the other. Only one thread may invoke at a time.

    Args:
        function: the function with its settings, which do not change.
        limits: limits memory and CPU.
        daemon: address of X-Ray's daemon; None: no tracing.
    """

    def __init__(self, function: Function, limits: Limits, daemon: str | None) -> None:
        self.function = function
        self.usable = True
        self._closing = threading.Lock()
        self._closed = False
        self._api = RuntimeApi()
        self._log = tempfile.TemporaryFile()  # noqa: SIM115 - closed by `close`; a pipe could block the function
        limits = limits if function.memory_mb else NoLimits("")
        self._group = limits.group(function.size_mb)
        # A whole vCPU for the init, see limits.py.
        self._group.set_cpu(max(1.0, vcpus(function.size_mb)))
        self._logged = 0
        self._cpu = 0.0
        self._init: tuple[float, float] | None = None  # seconds and CPU seconds
        self._began, self._began_at = time.monotonic(), time.time()
        self._process = self._start(daemon)
        threading.Thread(target=self._report_exit, daemon=True).start()

    def invoke(self, event: Event, request_id: str) -> InvocationOutcome:
        """Pass an event to the process, and wait for its outcome until the timeout."""
        cold = self._init is None
        message = self._wait_until_ready()
        init = self._init = self._init or (time.monotonic() - self._began, self._cpu_seconds())
        self._group.set_cpu(vcpus(self.function.size_mb))
        cpu_before, throttling_before = self._cpu_seconds(), self._group.throttling()
        sampler = _MemorySampler(self._process.pid)
        started, started_at = time.monotonic(), time.time()
        if isinstance(message, Ready):
            self._api.events.put(event)
            message = self._next_message(started + self.function.timeout)
            self.usable = isinstance(message, Replied | Raised)
        seconds, ended_at = time.monotonic() - started, time.time()
        peak_bytes = sampler.stop()
        throttling = self._group.throttling()
        payload, problem, status = self._to_lambda_format(message, request_id)
        return InvocationOutcome(
            payload=payload,
            problem=problem,
            status=status,
            log=self._new_log(),
            init_began=self._began_at,
            started=started_at,
            ended=ended_at,
            observed=Observation(
                cold=cold,
                seconds=seconds,
                init_seconds=init[0],
                cpu_seconds=self._cpu_seconds() - cpu_before,
                init_cpu_seconds=init[1],
                # The kernel updates VmHWM in batches of pages, so a sample may be higher.
                peak_bytes=max([peak_bytes, *(sample.bytes for sample in sampler.samples)]),
                memory=sampler.samples,
                throttling=throttling and throttling_before and throttling.since(throttling_before),
            ),
        )

    def close(self) -> None:
        """Kill the process, and remove its group and files. Any thread may call this."""
        with self._closing:
            if self._closed:
                return
            self._process.kill()
            self._process.wait()
            self._group.close()
            self._api.close()
            for file in (self._process.stdin, self._log):
                assert file is not None  # noqa: S101 - for the type checker: it is a pipe
                file.close()
            self._closed = True

    def _start(self, daemon: str | None) -> "subprocess.Popen[bytes]":
        log_stream = f"{time.strftime('%Y/%m/%d')}/[$LATEST]{os.urandom(16).hex()}"
        python = [sys.executable, "-P", str(BOOTSTRAP), self.function.handler, *self.function.lacks]
        return subprocess.Popen(  # noqa: S603 - our own file
            ["/bin/sh", "-c", ENTER, "sh", *map(str, self._group.entries), "--", *python],
            stdin=subprocess.PIPE,
            stdout=self._log,
            stderr=self._log,
            cwd=self.function.code[0],
            env=variables(self.function, self._api.address, log_stream, daemon),
            # Ctrl-C goes to the whole process group, but the sandbox must decide when functions end.
            start_new_session=True,
        )

    def _report_exit(self) -> None:
        self._api.messages.put(Exited(self._process.wait()))

    def _wait_until_ready(self) -> RuntimeMessage | None:
        # Lambda restarts an init after 10 s as part of the invocation. Here the init just continues.
        message = self._next_message(time.monotonic() + self.function.timeout)
        self.usable = isinstance(message, Ready)
        return message

    def _next_message(self, end: float) -> RuntimeMessage | None:
        """Return the next message of the process. At `end`, kill the process and return None."""
        try:
            return self._api.messages.get(timeout=max(0.0, end - time.monotonic()))
        except Empty:
            self._process.kill()
            return None

    def _to_lambda_format(
        self, message: RuntimeMessage | None, request_id: str
    ) -> tuple[bytes, dict[str, Any] | None, str | None]:
        """Return payload, error and status in Lambda's format."""
        if isinstance(message, Replied):
            return message.payload, None, None
        if isinstance(message, Raised):
            return message.payload, json.loads(message.payload), None
        if isinstance(message, Exited):
            kind = "Runtime.OutOfMemory" if self._group.was_out_of_memory() else "Runtime.ExitError"
            problem = _problem(kind, request_id, _reason(message.status))
            return json.dumps(problem).encode(), problem, "error"
        text = f"Task timed out after {self.function.timeout:.2f} seconds"
        problem = _problem("Sandbox.Timedout", request_id, text)
        return json.dumps(problem).encode(), problem, "timeout"

    def _cpu_seconds(self) -> float:
        """Return the CPU time so far. For an ended process without a group it is the last known value."""
        with suppress(FileNotFoundError):
            self._cpu = self._group.cpu_seconds(self._process.pid)
        return self._cpu

    def _new_log(self) -> bytes:
        """Return the output since the last call."""
        written = os.pread(self._log.fileno(), MAX_LOG, self._logged)
        self._logged += len(written)
        return written


class _MemorySampler:
    """Samples a process's resident memory on its own thread until it is stopped."""

    def __init__(self, pid: int) -> None:
        self.samples: list[MemorySample] = []
        self._process = Path(f"/proc/{pid}")
        self._began = time.monotonic()
        self._peak = 0
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def stop(self) -> int:
        """Stop, and return the highest peak of resident bytes that could be read."""
        self._stopped.set()
        self._thread.join()
        self._sample()
        return self._peak

    def _run(self) -> None:
        while True:
            self._sample()
            if self._stopped.wait(SAMPLE_SECONDS):
                return

    def _sample(self) -> None:
        try:
            status = (self._process / "status").read_text()
        except (FileNotFoundError, ProcessLookupError):
            return  # the process has ended
        figures = dict(re.findall(r"^(VmHWM|VmRSS):\s+(\d+) kB", status, re.MULTILINE))
        if not figures:
            return  # the process is ending
        self._peak = int(figures["VmHWM"]) * 1024
        self.samples.append(MemorySample(time.monotonic() - self._began, int(figures["VmRSS"]) * 1024))


def _problem(kind: str, request_id: str, message: str) -> dict[str, Any]:
    return {"errorType": kind, "errorMessage": f"RequestId: {request_id} Error: {message}"}


def _reason(status: int) -> str:
    """Return the reason why a process ended, in Lambda's words."""
    if status == 0:
        return "Runtime exited without providing a reason"
    if status > 0:
        return f"Runtime exited with error: exit status {status}"
    return f"Runtime exited with error: signal: {(signal.strsignal(-status) or str(-status)).lower()}"
