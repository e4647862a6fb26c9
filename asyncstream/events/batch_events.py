"""Which events ask for a step of a run; and the event of a batch, which is also a message of a queue.

Does no I/O. The other steps are in `run_events.py`, whose imports a function that copies files does not need.
"""

from typing import Any

from msgspec import Struct

from asyncstream.events.deployment import Deployment
from asyncstream.events.reading import at
from asyncstream.runs.places import Run

RUN_STEPS = frozenset({"plan", "estimate", "batch", "finish", "abort"})


def is_run_step(event: Any) -> bool:
    """Whether an event asks for a step of a run."""
    return isinstance(event, dict) and not RUN_STEPS.isdisjoint(event)


class BatchEvent(Struct, frozen=True, forbid_unknown_fields=True):
    """An event that asks to move a batch: `s3://bucket/RUN/plan/000123.jsonl`."""

    batch: str


def batch_of(uri: str, deployment: Deployment) -> tuple[Run, int]:
    """Return the run and the number of a batch within the deployed destination.

    Raises:
        InputError: it is not a batch, or outside the deployment.
    """
    run, number = at("$.batch", Run.of_batch, uri)
    deployment.check_written(run.prefix)
    return run, number
