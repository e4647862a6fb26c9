"""A local Lambda: runs each function in its own process. boto3's `lambda` client invokes it."""

from asyncstream.lab.sandbox.function import Function
from asyncstream.lab.sandbox.observation import Observation
from asyncstream.lab.sandbox.sandbox import Sandbox

__all__ = ["Function", "Observation", "Sandbox"]
