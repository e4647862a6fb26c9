"""Decide from the environment whether to trace, and choose the parent of the trace.

- If the X-Ray SDK's recorder, which Powertools' Tracer uses, has a segment or subsegment open, that is the
  parent.
- In Lambda, the function's own segment is the parent, if this invocation is sampled (active tracing).
- Elsewhere, the trace is a segment without a parent, if `AWS_XRAY_DAEMON_ADDRESS` names a daemon.

Nothing is traced without `aws-xray-sdk` (`pip install 'asyncstream[xray]'`), with
`AWS_XRAY_SDK_ENABLED=false`, or if the SDK cannot parse the daemon's address, which is logged once.
"""

import importlib.util
import logging
import os
import sys
from collections.abc import Mapping
from typing import Any

from asyncstream.ports import Annotation, Span
from asyncstream.tracing.spans import UNTRACED

ROOT = "asyncstream"
SDK = "aws_xray_sdk"
DAEMON = "AWS_XRAY_DAEMON_ADDRESS"

logger = logging.getLogger(__name__)
# The addresses that the SDK could not parse. Loading it again would cost CPU, and log the same again.
_refused_addresses: set[str | None] = set()


def prepare(environ: Mapping[str, str] = os.environ) -> None:
    """Load the SDK before the first trace, if there may be one.

    Loading takes 10 ms in Lambda's init phase, which has a whole CPU. In an invocation with 128 MB it takes
    140 ms.
    """
    if is_on(environ) and DAEMON in environ and is_installed():
        _load_xray(environ)


def open_trace(environ: Mapping[str, str] = os.environ, **annotations: Annotation) -> Span:
    """Start the root span of a transfer; if the transfer is not traced, return a span that does nothing."""
    if not may_trace(environ):
        return UNTRACED
    xray = _load_xray(environ)
    if xray is None:
        return UNTRACED
    parent = xray.open_elsewhere()
    if parent is None and in_lambda(environ):
        parent = xray.function_segment(environ)
    elif parent is None and DAEMON in environ:
        parent = xray.new_trace()
    if parent is None or not parent.sampled:
        return UNTRACED
    span: Span = xray.record(ROOT, parent, annotations)
    return span


def _load_xray(environ: Mapping[str, str]) -> Any:
    """Load `tracing.xray`, whose SDK parses the daemon's address; return None if it cannot.

    The address must not stop a transfer. Only a traced transfer pays for the SDK.
    """
    address = environ.get(DAEMON)
    if address in _refused_addresses:
        return None
    try:
        from asyncstream.tracing import xray  # noqa: PLC0415
    except Exception as error:
        # Its class cannot be imported: that needs the package whose import fails.
        if type(error).__name__ != "InvalidDaemonAddressException":
            raise
        _refused_addresses.add(address)
        logger.warning(
            "%s=%r is not an address, so nothing is traced: write host:port, or unset it", DAEMON, address
        )
        return None
    return xray


def may_trace(environ: Mapping[str, str]) -> bool:
    """Return whether a trace is possible, without loading the SDK: so tracing costs nothing if it is off."""
    if not is_on(environ):
        return False
    if f"{SDK}.core" in sys.modules:
        return True
    if in_lambda(environ):
        return "Sampled=1" in environ.get("_X_AMZN_TRACE_ID", "") and is_installed()
    return DAEMON in environ and is_installed()


def is_on(environ: Mapping[str, str]) -> bool:
    """Return whether tracing is not switched off."""
    return environ.get("AWS_XRAY_SDK_ENABLED", "").lower() != "false"


def in_lambda(environ: Mapping[str, str]) -> bool:
    """Return whether this process is a Lambda function."""
    return "AWS_LAMBDA_FUNCTION_NAME" in environ


def is_installed() -> bool:
    """Return whether the SDK is installed."""
    return importlib.util.find_spec(SDK) is not None
