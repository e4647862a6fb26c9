"""Tracing: record the spans of a transfer or mapping and send them to X-Ray."""

from asyncstream.tracing.current import current_span
from asyncstream.tracing.opening import open_trace, prepare

__all__ = ["current_span", "open_trace", "prepare"]
