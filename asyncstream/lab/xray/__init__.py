"""A local X-Ray: a daemon that receives documents over UDP, and an API for reading traces."""

from asyncstream.lab.xray.client import XRayReceiver
from asyncstream.lab.xray.reading import read_trace, read_traces

__all__ = ["XRayReceiver", "read_trace", "read_traces"]
