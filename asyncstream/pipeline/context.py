"""What the tasks of one transfer work with, as one value instead of five parameters."""

from msgspec import Struct

from asyncstream.deadline import Deadline
from asyncstream.pipeline import progress
from asyncstream.pipeline.config import TransferConfig
from asyncstream.ports import Engine, Store
from asyncstream.retry import Retrying


class TransferContext(Struct, frozen=True):
    """One transfer's surroundings.

    Attributes:
        store: where objects are read and written.
        engine: runs tasks, sleeps, computes.
        config: the transfer's settings.
        retrying: repeats requests, within the deadline.
        on_event: the progress callback.
    """

    store: Store
    engine: Engine
    config: TransferConfig
    retrying: Retrying
    on_event: progress.OnEvent

    @property
    def deadline(self) -> Deadline:
        """After which nothing starts; its clock is the transfer's."""
        return self.retrying.deadline
