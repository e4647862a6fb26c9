"""Whether there is a trace, and under what, by the environment.

- Under the subsegment or segment that somebody else's X-Ray recorder (Powertools' Tracer, say) has open.
- In Lambda, under the function's own segment, if this invocation is sampled (active tracing).
- Elsewhere, as a segment of its own, if `AWS_XRAY_DAEMON_ADDRESS` names a daemon.
- Not at all without `aws-xray-sdk` (`pip install 'asyncstream[xray]'`) or with `AWS_XRAY_SDK_ENABLED=false`.
"""

import importlib.util
import os
import sys
from collections.abc import Mapping

from asyncstream.ports import Annotation, Span
from asyncstream.tracing.spans import UNTRACED

ROOT = "asyncstream"
SDK = "aws_xray_sdk"
DAEMON = "AWS_XRAY_DAEMON_ADDRESS"


def prepare(environ: Mapping[str, str] = os.environ) -> None:
    """Load the SDK ahead of the first trace, where there may be one.

    In Lambda's init phase, which has a whole CPU: at 128 MB the same 10 ms are 140 in an invocation.
    """
    if is_on(environ) and DAEMON in environ and is_installed():
        from asyncstream.tracing import xray  # noqa: F401, PLC0415


def open_trace(environ: Mapping[str, str] = os.environ, **annotations: Annotation) -> Span:
    """The root span of a transfer that begins now; one that does nothing if it is not traced."""
    if not may_trace(environ):
        return UNTRACED
    from asyncstream.tracing import xray  # noqa: PLC0415 - only a traced transfer pays for the SDK

    parent = xray.open_elsewhere()
    if parent is None and in_lambda(environ):
        parent = xray.of_function(environ)
    elif parent is None and DAEMON in environ:
        parent = xray.nothing()
    if parent is None or not parent.sampled:
        return UNTRACED
    return xray.record(ROOT, parent, annotations)


def may_trace(environ: Mapping[str, str]) -> bool:
    """Whether the SDK is needed to tell: so that tracing costs nothing where it is off."""
    if not is_on(environ):
        return False
    if f"{SDK}.core" in sys.modules:
        return True
    if in_lambda(environ):
        return "Sampled=1" in environ.get("_X_AMZN_TRACE_ID", "") and is_installed()
    return DAEMON in environ and is_installed()


def is_on(environ: Mapping[str, str]) -> bool:
    """Whether nobody has switched it off."""
    return environ.get("AWS_XRAY_SDK_ENABLED", "").lower() != "false"


def in_lambda(environ: Mapping[str, str]) -> bool:
    """Whether this is a Lambda function."""
    return "AWS_LAMBDA_FUNCTION_NAME" in environ


def is_installed() -> bool:
    """Whether the SDK is there."""
    return importlib.util.find_spec(SDK) is not None
