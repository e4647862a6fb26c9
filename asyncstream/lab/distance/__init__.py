"""A proxy that makes a local server as slow to reach as a distant one."""

from asyncstream.lab.distance.client import Distance

__all__ = ["Distance"]
