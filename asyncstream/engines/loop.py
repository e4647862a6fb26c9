"""The loop of transfers and mappings: start tasks while slots are free, wait for one to end, settle it."""

from collections.abc import AsyncGenerator
from typing import Protocol, TypeVar

from asyncstream.ports import Finished, Slots

T_co = TypeVar("T_co", covariant=True)


class Policy(Protocol[T_co]):
    """Decides which tasks start, and handles those that have ended."""

    @property
    def running(self) -> int:
        """The number of tasks that are started and not settled."""

    def hand_over(self) -> T_co | None:
        """Return the next result for the caller of the loop; None if there is none yet."""

    def start(self, slots: Slots) -> bool:
        """Start tasks; return whether there may be more to start, or something to hand over."""

    def settle(self, finished: Finished) -> None:
        """Record how a task has ended; an exception raised here ends the loop."""


async def run_tasks(slots: Slots, policy: Policy[T_co]) -> AsyncGenerator[T_co, None]:
    """Run the tasks of a policy to their ends, and yield the results that it hands over."""
    while True:
        handed_over = policy.hand_over()
        if handed_over is not None:
            yield handed_over
        ended = None
        if policy.start(slots):
            ended = await slots.poll_end()
        elif handed_over is None:
            if not policy.running:
                return
            ended = await slots.wait_end()
        if ended is not None:
            policy.settle(ended)
