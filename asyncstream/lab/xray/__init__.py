"""X-Ray on this machine: a daemon that takes documents over UDP, and an API that traces are read from."""

from asyncstream.lab.xray.client import XRayReceiver
from asyncstream.lab.xray.reading import read_trace, read_traces

__all__ = ["XRayReceiver", "read_trace", "read_traces"]
