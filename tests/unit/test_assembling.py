"""Parts that several tasks read into memory are whole, and wait for what they depend on, but not for ever."""

from types import SimpleNamespace
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asyncstream.objects import ByteRange, CompletedPart
from asyncstream.pipeline import assembling
from asyncstream.pipeline.assembling import AssembledPart, AssembledParts
from asyncstream.pipeline.body import StopFlag
from asyncstream.pipeline.copying import _CopiedParts
from asyncstream.pipeline.jobs import Job
from asyncstream.pipeline.plan import PartPlan, plan_parts
from asyncstream.pipeline.reservations import Reservations
from asyncstream.pipeline.tasks import FileFacts, Needs, Parts, ReadPiece, SendPart, Task
from asyncstream.tracing.spans import UNTRACED
from asyncstream.units import KiB

from .transfers import source, target

PIECE = 256 * KiB


@given(st.integers(0, 10), st.integers(1, 20), st.integers(1, 12), st.integers(0, 40))
def test_pieces_cover_the_part_once(start: int, length: int, pieces: int, last_from: int) -> None:
    unit = PIECE // 3
    range_ = ByteRange(start * unit, (start + length) * unit)
    part = AssembledPart(range_, pieces, last_from * unit)
    ranges = [*part.unread] + ([] if part.last is None else [part.last])
    assert part.missing == len(ranges)
    assert len(part.unread) <= pieces
    at = range_.start
    for each in ranges:
        assert each.start == at < each.stop
        at = each.stop
    assert at == range_.stop
    # The bytes that depend on others are a piece of their own, unless all do.
    if range_.start < last_from * unit < range_.stop:
        assert part.last == (last_from * unit, range_.stop)


def test_the_memory_is_there_before_a_piece_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two tasks that allocate it at once would each write to their own, and one would be lost."""
    made: list[int] = []

    def allocate(size: int) -> memoryview:
        made.append(size)
        return memoryview(bytearray(size))

    monkeypatch.setattr(assembling, "allocate", allocate)
    part = AssembledPart(ByteRange(10, 20), 1, 100)
    assert made == [10]
    part.write(15, b"world")
    part.write(10, b"hello")
    assert made == [10]
    assert bytes(part._bytes) == b"helloworld"


async def never(_: Any) -> Any:
    raise AssertionError("no task runs")


def facts(plan: PartPlan, confirmed: set[int]) -> FileFacts:
    file = FileFacts(Job(source(0), target(0)), StopFlag(), UNTRACED, size=plan.size)
    file.part_plan = plan
    file.completed = [confirm(plan, number) for number in sorted(confirmed)]
    return file


def confirm(plan: PartPlan, number: int) -> CompletedPart:
    return CompletedPart(number, "e", plan.range(number).length, {})


def parts_of(file: FileFacts, slots: int, last_from: int, assembled: bool) -> Parts:
    done = {part.number for part in file.completed}
    missing = (n for n in range(1, file.part_plan.planned + 1) if n not in done)
    if not assembled:
        copying = cast("Any", SimpleNamespace(reader=None, send_part=never))
        return _CopiedParts(copying, file, None, missing, last_from)
    return AssembledParts(file, missing, slots, read_piece=never, send_part=never, last_from=last_from)


@given(
    st.data(),
    st.booleans(),
    st.integers(1, 12),
    st.integers(1, 5),
    st.integers(1, 4),
    st.integers(0, 6),
)
def test_tasks_that_end_in_any_order_never_wait_for_ever(
    data: st.DataObject, assembled: bool, units: int, step: int, slots: int, tail: int
) -> None:
    """With memory for one part at least, and parts that an earlier transfer has sent."""
    size, length = units * PIECE, step * PIECE
    last_from = max(0, size - tail * PIECE // 2)
    plan = plan_parts(size, length)
    confirmed = data.draw(st.sets(st.integers(1, plan.planned), max_size=plan.planned - 1))
    file = facts(plan, confirmed)
    parts = parts_of(file, slots, last_from, assembled)
    room = Reservations(data.draw(st.integers(1, 3)) * length + slots * 100, 100, 0)
    running: list[Task[Any]] = []
    read: list[ByteRange] = []
    waiting: Task[Any] | None = None
    while not parts.confirmed:
        waiting = parts.next(waiting)
        reserved = None
        if waiting is not None and len(running) < slots:
            reserved = room.reserve(waiting.needs)
        if reserved is not None:
            assert waiting is not None
            check_may_start(waiting, file, last_from)
            waiting.part_bytes += reserved.part_bytes
            running.append(waiting)
            waiting = None
            if len(running) < slots and data.draw(st.booleans()):
                continue
        assert running, "nothing runs, and nothing can start"
        end(running.pop(data.draw(st.integers(0, len(running) - 1))), parts, room, read)
    assert sorted(part.number for part in file.completed) == [*range(1, plan.planned + 1)]
    if assembled:
        at = {edge for each in read for edge in each}
        assert sum(each.length for each in read) == size - sum(plan.range(n).length for n in confirmed)
        assert len(at) <= 2 * len(read)
    assert not running
    assert room.free == room._limit


def check_may_start(task: Task[Any], file: FileFacts, last_from: int) -> None:
    """Check that bytes that depend on others are read after all of those are confirmed."""
    range_ = task.range if isinstance(task, ReadPiece) else None
    number = task.sending.number if isinstance(task, ReadPiece) else cast("SendPart", task).number
    if range_ is None and isinstance(cast("SendPart", task).segment, AssembledPart):
        return  # its bytes are read
    range_ = range_ or file.part_plan.range(number)
    if range_.stop <= last_from:
        return
    depended = [n for n in range(1, number) if file.part_plan.range(n).start < last_from and n != number]
    assert set(depended) <= {part.number for part in file.completed}


def end(task: Task[Any], parts: Parts, room: Reservations, read: list[ByteRange]) -> None:
    """End a task as `CopyTasks` and `File` do."""
    room.release_slot()
    if isinstance(task, ReadPiece):
        read.append(task.range)
        task.sending.part_bytes += task.part_bytes
        parts.record(task, None)
        return
    assert isinstance(task, SendPart)
    room.release(task.part_bytes, 0)
    parts.record(task, confirm(parts.file.part_plan, task.number))


def test_a_part_goes_before_the_next_is_read() -> None:
    """Sending it frees its memory, which the next one may need."""
    plan = plan_parts(4 * PIECE, 2 * PIECE)
    parts = parts_of(facts(plan, set()), 2, plan.size, assembled=True)
    first = parts.next(None)
    second = parts.next(None)
    assert isinstance(first, ReadPiece)
    assert isinstance(second, ReadPiece)
    assert (first.needs, second.needs) == (Needs(part_bytes=2 * PIECE), Needs())
    waiting = parts.next(None)
    assert isinstance(waiting, ReadPiece)
    assert waiting.sending.number == 2
    for each in (first, second):
        parts.record(each, None)
    sending = parts.next(waiting)
    assert isinstance(sending, SendPart)
    assert sending.number == 1
    assert parts.next(None) is waiting
