"""The variants as functions in the sandbox, and one invocation of one of them measured; for `rounds.py`."""

import base64
import json
import re
from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Any, Self

from botocore.exceptions import BotoCoreError, ClientError

from asyncstream.errors import AsyncstreamError
from asyncstream.lab.compare.variants import Variant
from asyncstream.lab.sandbox import Function, Sandbox
from asyncstream.lab.sandbox.log import read_report
from asyncstream.lab.xray import XRayReceiver, read_trace
from asyncstream.report.measurement import Failure, Run
from asyncstream.report.spans import Trace

LAMBDA_SECONDS = 900


class Functions:
    """A function for each variant; a context manager.

    Args:
        variants: which ones.
        environment: their environment variables.
        traced: whether each invocation is traced.
    """

    def __init__(self, variants: Sequence[Variant], environment: Mapping[str, str], *, traced: bool) -> None:
        self._environment = environment
        self._runs = 0
        self._xray = XRayReceiver() if traced else None
        try:
            self._sandbox = Sandbox(
                [self._function(variant, traced) for variant in variants],
                daemon_address=self._xray.daemon_address if self._xray else None,
            )
        except BaseException:
            self._close_xray()
            raise
        self._lambda = self._sandbox.client()
        self._traces = self._xray.client() if self._xray else None

    @property
    def limits(self) -> str:
        """How the functions are held to their size."""
        return self._sandbox.limits

    def invoke(self, variant: Variant, memory_mb: int | None, event: Mapping[str, Any]) -> Run | Failure:
        """Invoke the variant's function in a new environment of that size; what was measured, or failed."""
        name = variant.way.name
        self._runs += 1
        # Lambda begins new environments when the configuration changes, so it does.
        settings: dict[str, Any] = {
            "Environment": {"Variables": {**self._environment, "COMPARISON_RUN": str(self._runs)}}
        }
        if memory_mb is not None:
            settings["MemorySize"] = memory_mb
        try:
            self._lambda.update_function_configuration(FunctionName=name, **settings)
            self._lambda.get_waiter("function_updated_v2").wait(FunctionName=name)
            reply = self._lambda.invoke(FunctionName=name, LogType="Tail", Payload=json.dumps(event))
            payload = json.loads(reply["Payload"].read())
        except (BotoCoreError, ClientError) as error:
            raise AsyncstreamError(f"the function {name} cannot be invoked: {error}") from error
        report = read_report(base64.b64decode(reply["LogResult"]).decode(errors="replace"))
        seen = self._sandbox.observed(report.request_id)
        problem = _told(payload) if "FunctionError" in reply else failure_in(payload)
        if problem is not None:
            return Failure(problem, seen.memory)
        return Run(
            seconds=report.seconds,
            cpu_seconds=seen.cpu_seconds,
            peak_bytes=seen.peak_bytes,
            init_seconds=seen.init_seconds,
            init_cpu_seconds=seen.init_cpu_seconds,
            requests=payload.get("totals", {}).get("requests", {}),
            memory=seen.memory,
            trace=self._trace(report.trace_id),
        )

    def close(self) -> None:
        """End all functions."""
        self._lambda.close()
        try:
            self._sandbox.close()
        finally:  # also when Ctrl-C comes now
            self._close_xray()

    def __enter__(self) -> Self:
        """Return itself: the functions can be invoked already."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End all functions."""
        self.close()

    def _function(self, variant: Variant, traced: bool) -> Function:
        return Function(
            name=variant.way.name,
            handler=variant.handler,
            code=[variant.code],
            timeout=LAMBDA_SECONDS,
            environment=self._environment,
            tracing=traced,
        )

    def _trace(self, trace_id: str | None) -> Trace | None:
        if self._xray is None or trace_id is None:
            return None
        self._xray.settle()
        return read_trace(self._traces, trace_id)

    def _close_xray(self) -> None:
        if self._xray is not None:
            self._xray.close()


def _told(payload: Mapping[str, Any]) -> str:
    """Lambda's error in one line: its type, and its message without the request's id."""
    message = re.sub(r"^RequestId: \S+ Error: ", "", payload.get("errorMessage", ""))
    return f"{payload.get('errorType', 'Unhandled')}: {message}"


def failure_in(reply: Mapping[str, Any]) -> str | None:
    """What a handler's reply says went wrong, if something did."""
    if reply.get("status", "copied") == "copied" and not reply.get("error"):
        return None
    failures = reply.get("failures") or [{}]
    problem = reply.get("error") or failures[0].get("error") or {"type": reply["status"], "message": "?"}
    many = f" (and {len(failures) - 1:,} more files)" if len(failures) > 1 else ""
    return f"{problem['type']}: {problem['message']}{many}"
