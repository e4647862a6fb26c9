"""X-Ray on this machine: a daemon that takes documents over UDP, and an API that traces are read from."""

from asyncstream.lab.xray.client import XRayError, XRayReceiver
from asyncstream.lab.xray.reading import read_trace

__all__ = ["XRayError", "XRayReceiver", "read_trace"]
