"""What was begun, dropped when a transfer is stopped: bodies closed, uploads aborted; for `pipeline.py`."""

from functools import partial

from asyncstream.deadline import SHIELD_SECONDS
from asyncstream.errors import ConnectionFailed
from asyncstream.pipeline import endings
from asyncstream.pipeline.parts import PartMover
from asyncstream.pipeline.tasks import FileInProgress
from asyncstream.ports import Engine


async def drop(
    begun: set[FileInProgress], mover: PartMover, engine: Engine, slot_count: int, stopped: BaseException
) -> None:
    """Drop all of them, however the transfer was stopped; no other task of theirs may run any more.

    Args:
        begun: the files; those that were dropped are taken out.
        mover: drops one.
        engine: drops several at once.
        slot_count: how many.
        stopped: gets a note of each upload for which that failed or took too long.
    """
    try:
        await engine.shielded(_drop_all(begun, mover, engine, slot_count, stopped), SHIELD_SECONDS)
    except ConnectionFailed as late:
        for file in begun:
            stopped.add_note(endings.not_aborted(file, late))


async def _drop_all(
    begun: set[FileInProgress], mover: PartMover, engine: Engine, slot_count: int, stopped: BaseException
) -> None:
    waiting = list(begun)
    running = 0
    async with engine.slots(slot_count) as slots:
        while waiting or running:
            while waiting and slots.free:
                file = waiting.pop()
                slots.start(file, partial(mover.drop, file))
                running += 1
            dropped = await slots.finished()
            running -= 1
            begun.discard(dropped.tag)
            if dropped.error is not None:
                stopped.add_note(endings.not_aborted(dropped.tag, dropped.error))
