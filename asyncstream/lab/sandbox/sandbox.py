"""`Sandbox`: functions, their environments and invocations."""

import threading
import time
import uuid
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

import boto3
from botocore.config import Config
from msgspec.structs import replace

from asyncstream.deadline import LONGEST_INVOCATION
from asyncstream.engines.closing import Closing
from asyncstream.errors import InputError
from asyncstream.lab.sandbox import log, segments
from asyncstream.lab.sandbox.environment import Environment, InvocationOutcome
from asyncstream.lab.sandbox.function import REGION, Function
from asyncstream.lab.sandbox.limits import open_limits
from asyncstream.lab.sandbox.observation import Observation
from asyncstream.lab.sandbox.runtime_api import Event
from asyncstream.lab.sandbox.segments import Times, TraceContext
from asyncstream.lab.sandbox.service import Invocation, LambdaService

MAX_OBSERVED = 1_000
# How long a client waits for a reply: an invocation, the start of its environment, and a busy machine.
CLIENT_SECONDS = LONGEST_INVOCATION + 60


class Sandbox(Closing):
    """Functions that boto3 can invoke at `endpoint_url`; a context manager.

    All processes and groups are removed when it is closed. If its process is killed, the functions' processes
    end, too.

    Args:
        functions: the functions. UpdateFunctionConfiguration can change their settings.
        daemon_address: X-Ray's daemon at `host:port`; None: no tracing.

    Attributes:
        endpoint_url: URL of Lambda's API.
        update_seconds: duration of a change, during which other changes are refused. Default: 0. In Lambda it
            is a second or more.
    """

    def __init__(self, functions: Sequence[Function], *, daemon_address: str | None = None) -> None:
        self._functions = {function.name: function for function in functions}
        self._daemon = daemon_address
        self.update_seconds = 0.0
        self._updated: dict[str, float] = {}
        self._limits = open_limits()
        self._lock = threading.Lock()
        self._idle: list[Environment] = []
        self._all: list[Environment] = []
        self._observed: dict[str, Observation] = {}
        self._service = LambdaService(self)
        self.endpoint_url = self._service.endpoint_url

    @property
    def limits(self) -> str:
        """How functions are limited: "cgroup v1", "cgroup v2", or "measured only" with the reason."""
        return self._limits.description

    def client(self) -> Any:
        """Return a boto3 client that waits for the longest invocation and does not retry."""
        return boto3.client(
            "lambda",
            endpoint_url=self.endpoint_url,
            region_name=REGION,
            aws_access_key_id="lab",
            aws_secret_access_key="lab",  # noqa: S106 - the server does not check it
            config=Config(read_timeout=CLIENT_SECONDS, retries={"total_max_attempts": 1}, tcp_keepalive=True),
        )

    def observed(self, request_id: str) -> Observation:
        """Return the measurements of one of the last invocations.

        Raises:
            InputError: none of them has this ID.
        """
        try:
            return self._observed[request_id]
        except KeyError:
            raise InputError(
                f"there is no invocation {request_id} among the last {MAX_OBSERVED}: use a later ID"
            ) from None

    def function(self, name: str) -> Function | None:
        """Return the function with its current settings."""
        return self._functions.get(name)

    def is_updating(self, name: str) -> bool:
        """Return whether the last change of a function is still in progress."""
        return time.monotonic() < self._updated.get(name, 0.0)

    def configure(self, name: str, **changes: Any) -> Function:
        """Change a function's settings. As in Lambda, the next invocation starts a new environment."""
        function = self._functions[name] = replace(self._functions[name], **changes)
        self._updated[name] = time.monotonic() + self.update_seconds
        with self._lock:
            outdated = [environment for environment in self._idle if environment.function.name == name]
            self._idle = [environment for environment in self._idle if environment not in outdated]
        for environment in outdated:
            self._end(environment)
        return function

    def invoke(self, name: str, payload: bytes, trace_header: str | None) -> Invocation:
        """Run a function once, in an idle environment or a new one."""
        received = time.time()
        request_id = str(uuid.uuid4())
        environment = self._environment(self._functions[name])
        function = environment.function
        trace = TraceContext.from_header(trace_header, active=function.tracing)
        try:
            outcome = environment.invoke(self._event(function, payload, request_id, trace), request_id)
        finally:
            # Also if the caller is interrupted, when the state of the process is unknown.
            self._release(environment)
        self._observe(request_id, outcome.observed)
        if trace.sampled and self._daemon is not None:
            times = Times(
                received,
                outcome.init_began if outcome.observed.cold else None,
                outcome.started,
                outcome.ended,
                time.time(),
            )
            sent = segments.documents(trace, function.name, function.arn, times, outcome.problem)
            segments.send(self._daemon, sent)
        return Invocation(
            request_id=request_id,
            payload=outcome.payload,
            failed=outcome.problem is not None,
            log=self._log(function, request_id, outcome, trace),
        )

    def close(self) -> None:
        """Kill all functions."""
        self._service.close()
        with self._lock:
            environments, self._all, self._idle = self._all, [], []
        for environment in environments:
            environment.close()

    def _environment(self, function: Function) -> Environment:
        with self._lock:
            for environment in self._idle:
                if environment.function == function:
                    self._idle.remove(environment)
                    return environment
            environment = Environment(function, self._limits, self._daemon)
            self._all.append(environment)
        return environment

    def _release(self, environment: Environment) -> None:
        with self._lock:  # `configure` may replace the function meanwhile
            current = environment.function == self._functions[environment.function.name]
            if environment.usable and current:
                self._idle.append(environment)
                return
        self._end(environment)

    def _end(self, environment: Environment) -> None:
        # It stays in `_all` until it is closed, so that `close` waits for it, too.
        environment.close()
        with self._lock, suppress(ValueError):  # `close` has removed it
            self._all.remove(environment)

    def _observe(self, request_id: str, observation: Observation) -> None:
        with self._lock:
            self._observed[request_id] = observation
            if len(self._observed) > MAX_OBSERVED:
                self._observed.pop(next(iter(self._observed)))

    def _event(self, function: Function, payload: bytes, request_id: str, trace: TraceContext) -> Event:
        headers = {
            "Lambda-Runtime-Aws-Request-Id": request_id,
            "Lambda-Runtime-Deadline-Ms": str(int((time.time() + function.timeout) * 1000)),
            "Lambda-Runtime-Invoked-Function-Arn": function.arn,
        }
        if self._daemon is not None:
            headers["Lambda-Runtime-Trace-Id"] = trace.header
        return Event(payload, headers)

    def _log(
        self, function: Function, request_id: str, outcome: InvocationOutcome, trace: TraceContext
    ) -> str:
        """Return the whole log of one invocation, Lambda's and the function's lines."""
        observed, problem = outcome.observed, outcome.problem
        init_seconds = observed.init_seconds if observed.cold else None
        kind = problem["errorType"] if problem is not None and outcome.status == "error" else None
        peak_mb = -(-observed.peak_bytes // 2**20)
        report = log.Report(
            request_id=request_id,
            seconds=observed.seconds,
            billed_seconds=log.billed(observed.seconds, init_seconds),
            memory_mb=function.size_mb,
            # A function that was killed because it ran out of memory had used all of it.
            peak_mb=function.size_mb if kind == "Runtime.OutOfMemory" else min(peak_mb, function.size_mb),
            init_seconds=init_seconds,
            status=outcome.status,
            error_type=kind,
            trace_id=trace.trace_id if trace.sampled and self._daemon is not None else None,
        )
        failure_line = (
            "" if problem is None or outcome.status is None else _line(outcome.ended, request_id, problem)
        )
        return (
            f"{log.start_line(request_id)}{outcome.log.decode(errors='replace')}{failure_line}"
            f"{log.end_line(request_id)}{log.report_line(report, trace.segment_id)}"
        )


def _line(at: float, request_id: str, problem: dict[str, Any]) -> str:
    """Return the log lines that Lambda writes when a function's process exits, or when Lambda kills it."""
    message = problem["errorMessage"].removeprefix(f"RequestId: {request_id} Error: ")
    if problem["errorType"] == "Sandbox.Timedout":
        moment = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(at))
        return f"{moment}.{int(at % 1 * 1000):03d}Z {request_id} {message}\n\n"
    return f"RequestId: {request_id} Error: {message}\n{problem['errorType']}\n"
