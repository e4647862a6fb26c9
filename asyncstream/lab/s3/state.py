"""What all connections of the endpoint share: objects, counters, the network's model, faults."""

from __future__ import annotations

from typing import TYPE_CHECKING

from asyncstream.lab.s3.activity import Activity
from asyncstream.lab.s3.injection import OpenConnections
from asyncstream.lab.s3.model import Network
from asyncstream.lab.s3.objects import Store

if TYPE_CHECKING:
    from pathlib import Path

    from asyncstream.lab.s3.faults import FaultPlan
    from asyncstream.lab.s3.model import NetworkModel


class State:
    """The endpoint without its sockets.

    Args:
        directory: where kept objects are stored.
        model: the network's, to start with.
        log_size: requests that are remembered.
    """

    def __init__(self, directory: Path, model: NetworkModel, *, log_size: int = 0) -> None:
        self.store = Store(directory)
        self.activity = Activity(log_size)
        self.network = Network(model)  # replaced as a whole when the model changes
        self.faults: FaultPlan | None = None  # replaced as a whole, too
        self.connections = OpenConnections()
