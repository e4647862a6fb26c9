"""The shared state of all connections: objects, counters, the network model, faults."""

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
    """The state of the server, without its sockets.

    Args:
        directory: the place for kept objects.
        model: the initial network model.
        log_size: maximum number of requests in the log.
    """

    def __init__(self, directory: Path, model: NetworkModel, *, log_size: int = 0) -> None:
        self.store = Store(directory)
        self.activity = Activity(log_size)
        self.network = Network(model)  # replaced as a whole when the model changes
        self.faults: FaultPlan | None = None  # replaced as a whole, too
        self.connections = OpenConnections()
