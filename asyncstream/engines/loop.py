"""The one loop of transfers and mappings: start while slots are free, await an end, settle it."""

from collections.abc import AsyncGenerator
from typing import Protocol, TypeVar

from asyncstream.ports import Finished, Slots

T_co = TypeVar("T_co", covariant=True)


class Policy(Protocol[T_co]):
    """What starts next, and what becomes of an end."""

    @property
    def running(self) -> int:
        """Tasks that were started and are not settled."""

    @property
    def waiting(self) -> bool:
        """Whether there is something to hand over, now or after what runs."""

    def hand_over(self) -> T_co | None:
        """Return what the caller of the loop is given next, if it is there."""

    def start(self, slots: Slots) -> bool:
        """Start tasks; return whether more may be started before an end is awaited."""

    def settle(self, finished: Finished) -> None:
        """Take in how a task has ended; what this raises ends the loop."""


async def run_tasks(slots: Slots, policy: Policy[T_co]) -> AsyncGenerator[T_co, None]:
    """Run a policy's tasks to their ends, and yield what it hands over."""
    while True:
        handed_over = policy.hand_over()
        if handed_over is not None:
            yield handed_over
        ended = None
        if policy.start(slots):
            ended = await slots.ended()
        elif handed_over is None and policy.running:
            ended = await slots.finished()
        elif handed_over is None and not policy.waiting:
            return
        if ended is not None:
            policy.settle(ended)
