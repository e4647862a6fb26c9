"""A function: its code, its settings and its environment variables."""

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from msgspec import Struct

REGION = "us-east-1"
ACCOUNT = "123456789012"
# The memory of a function without a limit.
LARGEST_MB = 10_240


class Function(Struct, frozen=True, kw_only=True):
    """A Lambda function.

    Attributes:
        name: 1 to 64 letters, digits, hyphens and underscores.
        handler: `module.function`. The module may contain dots.
        code: directories with the code, in the order of search. The first is LAMBDA_TASK_ROOT.
        memory_mb: 128 to 10,240. None: no limit.
        timeout: seconds, 1 to 1,800 (LONGEST_INVOCATION).
        environment: its own variables, including credentials. It gets none of the caller's variables.
        tracing: whether Lambda samples each invocation for X-Ray (active tracing).
        lacks: packages to hide, which are installed here, but not in Lambda for this function.
    """

    name: str
    handler: str
    code: list[Path]
    memory_mb: int | None = None
    timeout: float = 900.0
    environment: Mapping[str, str] = {}
    tracing: bool = False
    lacks: Sequence[str] = ()

    @property
    def arn(self) -> str:
        """The function's Amazon Resource Name."""
        return f"arn:aws:lambda:{REGION}:{ACCOUNT}:function:{self.name}"

    @property
    def size_mb(self) -> int:
        """The memory in MB that the function sees."""
        return self.memory_mb or LARGEST_MB


def variables(function: Function, runtime_api: str, log_stream: str, daemon: str | None) -> dict[str, str]:
    """Return all environment variables of a function's process.

    They are those of Lambda (Lambda developer guide, "Defined runtime environment variables"), and those that
    Python needs here to find its packages.

    Args:
        function: the function that runs.
        runtime_api: host and port of the Runtime API.
        log_stream: unique to one environment.
        daemon: host and port of X-Ray's daemon; None: no tracing.
    """
    traced = {} if daemon is None else _daemon_variables(daemon)
    return {
        "AWS_DEFAULT_REGION": REGION,
        # Before the others, so that a function cannot override Lambda's variables, which Lambda refuses.
        **function.environment,
        **traced,
        "AWS_EXECUTION_ENV": f"AWS_Lambda_python{sys.version_info.major}.{sys.version_info.minor}",
        "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": str(function.size_mb),
        "AWS_LAMBDA_FUNCTION_NAME": function.name,
        "AWS_LAMBDA_FUNCTION_VERSION": "$LATEST",
        "AWS_LAMBDA_INITIALIZATION_TYPE": "on-demand",
        "AWS_LAMBDA_LOG_GROUP_NAME": f"/aws/lambda/{function.name}",
        "AWS_LAMBDA_LOG_STREAM_NAME": log_stream,
        "AWS_LAMBDA_RUNTIME_API": runtime_api,
        "AWS_REGION": REGION,
        "LAMBDA_TASK_ROOT": str(function.code[0]),
        "LANG": "en_US.UTF-8",
        "PATH": "/usr/local/bin:/usr/bin:/bin",
        "PYTHONPATH": ":".join(map(str, function.code)),
        "TZ": ":UTC",
        "_HANDLER": function.handler,
    }


def _daemon_variables(daemon: str) -> dict[str, str]:
    host, _, port = daemon.rpartition(":")
    return {
        "AWS_XRAY_CONTEXT_MISSING": "LOG_ERROR",
        "AWS_XRAY_DAEMON_ADDRESS": daemon,
        "_AWS_XRAY_DAEMON_ADDRESS": host,
        "_AWS_XRAY_DAEMON_PORT": port,
    }
