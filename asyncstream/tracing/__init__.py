"""Tracing: spans of a transfer, recorded here and sent to X-Ray; opened by `session.py`."""

from asyncstream.tracing.opening import open_trace, prepare

__all__ = ["open_trace", "prepare"]
