"""Events of the steps of a run, which the state machine of `deploy/template.yaml` sends. Does no I/O.

Each step but an estimate may run out of time. Its reply then says so, and the state machine sends the event
again, with the `position` of the reply. A plan finds in S3 what it has done.
"""

from collections.abc import Mapping
from typing import Annotated, Any

from msgspec import Meta, Struct

from asyncstream.events.batch_events import BatchEvent
from asyncstream.events.deployment import Deployment
from asyncstream.events.reading import at, read
from asyncstream.events.run_input import RunInput
from asyncstream.pipeline.config import explained
from asyncstream.runs.places import Run


class PlanEvent(Struct, frozen=True, forbid_unknown_fields=True):
    """An event that asks for the batches of a run.

    Attributes:
        plan: what to plan.
        run: where to write it, or where an earlier invocation has started to: `s3://bucket/RUN/`.
    """

    plan: RunInput
    run: str


class EstimateEvent(Struct, frozen=True, forbid_unknown_fields=True):
    """An event that asks what a run would take; see `PlanEvent`."""

    estimate: RunInput


class FinishPosition(Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """How far the last step of a run is, or the abort of its uploads.

    Attributes:
        next_list: the list of uploads to continue with.
        completed: giant files that are complete.
        failed: failures so far.
        errors: the first of them.
        redrives: the redrive that it is of: after another one, the step starts over.
    """

    next_list: Annotated[int, Meta(ge=0)] = 0
    completed: int = 0
    failed: int = 0
    errors: list[str] = []
    redrives: int = 0


class FinishEvent(Struct, frozen=True, forbid_unknown_fields=True):
    """An event that asks for the last step of a run.

    Attributes:
        finish: the run: `s3://bucket/RUN/`.
        redrives: how often the execution was redriven; null counts as 0, for engines that do not know it.
        moved_at: what `redrives` was when the batches were moved; -1 if they were not moved. If it is less,
            the batches that are not done are moved first.
        asked: the state machine's input, to be checked.
        position: where to continue, from the reply of an earlier invocation; empty at the start.
    """

    finish: str
    redrives: int | None = 0
    moved_at: int | None = 0
    asked: RunInput = RunInput()
    position: FinishPosition = FinishPosition()

    @property
    def moves_first(self) -> bool:
        """Whether the batches that are not done are to be moved, before the run can be finished."""
        return (self.redrives or 0) > (self.moved_at or 0)

    @property
    def continues_at(self) -> FinishPosition:
        """Where to continue: at the start, if the execution was redriven since the position was replied."""
        redrives = self.redrives or 0
        return self.position if self.position.redrives == redrives else FinishPosition(redrives=redrives)


class AbortEvent(Struct, frozen=True, forbid_unknown_fields=True):
    """An event that asks to drop the uploads of a run.

    Attributes:
        abort: the run: `s3://bucket/RUN/`.
        position: where to continue; see `FinishEvent`.
    """

    abort: str
    position: FinishPosition = FinishPosition()


RunEvent = PlanEvent | EstimateEvent | BatchEvent | FinishEvent | AbortEvent
_KINDS: Mapping[str, type[RunEvent]] = {
    "plan": PlanEvent,
    "estimate": EstimateEvent,
    "batch": BatchEvent,
    "finish": FinishEvent,
    "abort": AbortEvent,
}


def parse(event: Any) -> RunEvent:
    """Check an event's shape.

    Raises:
        InputError: a field is unknown, missing or of the wrong type; the message names its path.
    """
    [kind, *_] = [kind for name, kind in _KINDS.items() if name in event]
    return read(event, kind, message=lambda error: explained(error)[1])


def run_of(uri: str, path: str, deployment: Deployment) -> Run:
    """Return a run within the deployed destination.

    Raises:
        InputError: it is not the place of a run, or outside the deployment.
    """
    run = at(path, Run.from_uri, uri)
    deployment.check_written(run.prefix)
    return run
