"""Invokes and measures the functions of a deployed stack.

The measurements are Lambda's own report, and the CPU time in the function's reply. Changed settings are
restored at the end.
"""

import base64
import os
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from typing import Any

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError
from msgspec.structs import replace

from asyncstream.engines.closing import Closing
from asyncstream.errors import AsyncstreamError, InputError
from asyncstream.lab.compare.functions import RUN_VARIABLE, configure, invoke
from asyncstream.lab.compare.sdk_errors import one_line_errors
from asyncstream.lab.compare.stack import DeployedFunction, Stack, run_mark
from asyncstream.lab.compare.variants import Variant
from asyncstream.lab.report.measurement import Failure, Run
from asyncstream.lab.sandbox.log import Report, read_report
from asyncstream.lab.xray import read_traces

# Added to the function's timeout, for its start and the network.
READ_SECONDS = 60
# X-Ray shows most traces within half a minute.
TRACE_SECONDS, TRACE_POLL_SECONDS = 60.0, 2.0
# The span that asyncstream.tracing sends for every transfer. Lambda's own spans appear before it.
AWAITED = "asyncstream"
LOG_SECONDS, LOG_POLL_SECONDS = 15.0, 0.5
# This clock may be ahead of the log's.
LOG_MARGIN_SECONDS = 60.0
THROTTLED_SECONDS = (1.0, 2.0, 4.0, 8.0)


class DeployedFunctions(Closing):
    """The functions of a stack; a context manager that restores their settings.

    Args:
        stack: the CloudFormation stack of the functions.
        traced: whether X-Ray samples each invocation, and `with_traces` reads the traces.
    """

    limits = "by Lambda itself"

    def __init__(self, stack: Stack, *, traced: bool) -> None:
        self._stack = stack
        self._traced = traced
        self._runs = 0
        self._changed: dict[str, DeployedFunction] = {}
        self._undo = ExitStack()
        with one_line_errors(AsyncstreamError):
            self._control = self._client("lambda")
            # A default client considers an invocation of over a minute lost, and invokes the function again.
            longest = max(function.timeout for function in stack.functions.values())
            patient = Config(
                read_timeout=longest + READ_SECONDS, retries={"total_max_attempts": 1}, tcp_keepalive=True
            )
            self._invoker = self._client("lambda", config=patient)
            self._logs = self._client("logs")
        self._invoker.meta.events.register("before-call.lambda.Invoke", self._add_trace_header)

    def invoke(self, variant: Variant, memory_mb: int | None, event: Mapping[str, Any]) -> Run | Failure:
        """See `Functions`."""
        function = self._stack.functions[variant.way.name]
        self._renew_environment(function, memory_mb)
        self._trace_id = f"1-{int(time.time()):08x}-{os.urandom(12).hex()}"
        began = time.time()
        reply, payload, problem = self._invoke(function, event)
        if problem is not None:
            return Failure(problem)
        totals = payload["totals"]
        if "request_id" not in payload:
            return Failure("InputError: the function has another version of asyncstream: deploy again")
        report = self._report(function, reply, payload["request_id"], began)
        return Run(
            seconds=report.seconds,
            cpu_seconds=totals["cpu_seconds"],
            peak_bytes=report.peak_mb << 20,
            init_seconds=report.init_seconds,
            init_cpu_seconds=None,
            requests=totals["requests"],
            trace_id=self._trace_id if self._traced and function.traced else None,
        )

    def with_traces(self, runs: Sequence[Run | Failure]) -> tuple[list[Run | Failure], str | None]:
        """See `Functions`. X-Ray sampled all runs, but shows their traces late."""
        asked = [run.trace_id for run in runs if isinstance(run, Run) and run.trace_id is not None]
        if not asked:
            return list(runs), "the functions are deployed without active tracing" if self._traced else None
        try:
            with ExitStack() as closing:
                api = boto3.client("xray")
                closing.callback(api.close)
                found = read_traces(
                    api, asked, seconds=TRACE_SECONDS, poll_seconds=TRACE_POLL_SECONDS, awaited=AWAITED
                )
        except (BotoCoreError, ClientError) as error:
            return list(runs), f"X-Ray refused or did not answer: {error}"
        missing = len(asked) - len(found)
        with_traces = [
            replace(run, trace=found.get(run.trace_id or "")) if isinstance(run, Run) else run for run in runs
        ]
        problem = f"X-Ray did not show {missing:,} of {len(asked):,} traces within {TRACE_SECONDS:.0f} s"
        return with_traces, problem if missing else None

    def close(self) -> None:
        """Restore the functions' settings.

        Raises:
            AsyncstreamError: this failed or was interrupted. The message names the functions.
        """
        try:
            self._undo.close()
        except (AsyncstreamError, KeyboardInterrupt) as problem:
            left = ", ".join(f"{each.arn} ({each.memory_mb} MB)" for each in self._changed.values())
            raise AsyncstreamError(
                f"settings were not restored: {left}: {problem or 'interrupted'}: the next comparison of the "
                "stack restores them"
            ) from problem

    def _client(self, service: str, **settings: Any) -> Any:
        client = boto3.client(service, **settings)
        self._undo.callback(client.close)
        return client

    def _renew_environment(self, function: DeployedFunction, memory_mb: int | None) -> None:
        """Change the settings, so that Lambda starts a new environment for the next invocation."""
        if function.arn not in self._changed:
            self._changed[function.arn] = function
            self._undo.callback(self._put_back, function)
        self._runs += 1
        configure(
            self._control,
            function.arn,
            MemorySize=memory_mb or function.memory_mb,
            Environment={
                "Variables": {**function.environment, RUN_VARIABLE: run_mark(self._runs, function.memory_mb)}
            },
        )

    def _put_back(self, function: DeployedFunction) -> None:
        configure(
            self._control,
            function.arn,
            MemorySize=function.memory_mb,
            Environment={"Variables": dict(function.environment)},
        )
        del self._changed[function.arn]

    def _invoke(
        self, function: DeployedFunction, event: Mapping[str, Any]
    ) -> tuple[Mapping[str, Any], Any, str | None]:
        """Invoke the function once, and retry only if Lambda throttles the request."""
        for seconds in THROTTLED_SECONDS:
            try:
                return invoke(self._invoker, function.arn, event)
            except AsyncstreamError as error:
                if not isinstance(error.__cause__, self._invoker.exceptions.TooManyRequestsException):
                    raise
                time.sleep(seconds)
        return invoke(self._invoker, function.arn, event)

    def _add_trace_header(self, params: Any, **_: Any) -> None:
        """Make X-Ray sample this invocation, or not, independently of the account's rules."""
        sampled = int(self._traced)
        params["headers"]["X-Amzn-Trace-Id"] = f"Root={self._trace_id};Sampled={sampled}"

    def _report(
        self, function: DeployedFunction, reply: Mapping[str, Any], request_id: str, began: float
    ) -> Report:
        """Return Lambda's report, from the log in the reply or else from the log group.

        Raises:
            AsyncstreamError: the report is in neither.
        """
        log = base64.b64decode(reply.get("LogResult", "")).decode(errors="replace")
        end = time.monotonic() + LOG_SECONDS
        while True:
            try:
                return read_report(log)
            except InputError as error:
                if time.monotonic() > end:
                    raise AsyncstreamError(
                        f"Lambda's report of {function.arn} is neither in its reply nor in "
                        f"{function.log_group}: set the function's system log level to INFO: {error}"
                    ) from None
            log = self._read_log(function.log_group, request_id, began)
            if not log:
                time.sleep(LOG_POLL_SECONDS)

    def _read_log(self, log_group: str, request_id: str, began: float) -> str:
        """Return the invocation's lines from the log group, which other functions also use."""
        with one_line_errors(AsyncstreamError, f"the log group {log_group} cannot be read"):
            pages = self._logs.get_paginator("filter_log_events").paginate(
                logGroupName=log_group,
                startTime=int((began - LOG_MARGIN_SECONDS) * 1000),
                filterPattern=f'"{request_id}"',
            )
            return "\n".join(event["message"].rstrip("\n") for page in pages for event in page["events"])
