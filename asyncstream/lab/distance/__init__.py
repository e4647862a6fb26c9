"""A distance to a server on this machine: each round trip to it takes as long as one far away would."""

from asyncstream.lab.distance.client import Distance

__all__ = ["Distance"]
