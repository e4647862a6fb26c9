"""A Lambda on this machine: functions in processes of their own, called by boto3's `lambda` client."""

from asyncstream.lab.sandbox.function import Function
from asyncstream.lab.sandbox.observation import Observation
from asyncstream.lab.sandbox.sandbox import Sandbox

__all__ = ["Function", "Observation", "Sandbox"]
