"""Invokes and measures the variants as functions in the sandbox."""

import base64
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from asyncstream.deadline import LONGEST_INVOCATION
from asyncstream.engines.closing import Closing
from asyncstream.lab.compare.functions import RUN_VARIABLE, configure, invoke
from asyncstream.lab.compare.variants import Variant
from asyncstream.lab.report.measurement import Failure, Run
from asyncstream.lab.report.spans import Trace
from asyncstream.lab.sandbox import Function, Sandbox
from asyncstream.lab.sandbox.log import read_report
from asyncstream.lab.xray import XRayReceiver, read_trace


class SandboxedFunctions(Closing):
    """A function for each variant; a context manager.

    Args:
        variants: the variants to deploy in the sandbox.
        environment: the environment variables of the functions.
        traced: whether each invocation is traced.
        more_code: further directories with modules.
    """

    def __init__(
        self,
        variants: Sequence[Variant],
        environment: Mapping[str, str],
        *,
        traced: bool,
        more_code: Sequence[Path] = (),
    ) -> None:
        self._more_code = more_code
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
        """How memory and CPU of the functions are limited."""
        return self._sandbox.limits

    def invoke(self, variant: Variant, memory_mb: int | None, event: Mapping[str, Any]) -> Run | Failure:
        """See `Functions`."""
        name = variant.way.name
        self._runs += 1
        # A changed configuration makes Lambda start a new environment.
        settings: dict[str, Any] = {
            "Environment": {"Variables": {**self._environment, RUN_VARIABLE: str(self._runs)}}
        }
        if memory_mb is not None:
            settings["MemorySize"] = memory_mb
        configure(self._lambda, name, **settings)
        reply, payload, problem = invoke(self._lambda, name, event)
        report = read_report(base64.b64decode(reply["LogResult"]).decode(errors="replace"))
        seen = self._sandbox.observed(report.request_id)
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

    def with_traces(self, runs: Sequence[Run | Failure]) -> tuple[list[Run | Failure], str | None]:
        """See `Functions`. Each run already has its trace, because local traces are not late."""
        return list(runs), None

    def close(self) -> None:
        """Stop all functions."""
        self._lambda.close()
        try:
            self._sandbox.close()
        finally:  # also after Ctrl-C
            self._close_xray()

    def _function(self, variant: Variant, traced: bool) -> Function:
        return Function(
            name=variant.way.name,
            handler=variant.handler,
            code=[variant.code, *variant.more_code, *self._more_code],
            timeout=LONGEST_INVOCATION,
            environment=self._environment,
            tracing=traced,
            # Lambda's own boto3 has no awscrt, with which botocore would sign differently.
            lacks=["awscrt"] if variant.way.reference else [],
        )

    def _trace(self, trace_id: str | None) -> Trace | None:
        if self._xray is None or trace_id is None:
            return None
        self._xray.settle()
        return read_trace(self._traces, trace_id)

    def _close_xray(self) -> None:
        if self._xray is not None:
            self._xray.close()
