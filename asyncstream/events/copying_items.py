"""Copy the items of a trigger's event, round by round, before Lambda ends the invocation."""

import logging
from collections import Counter
from collections.abc import Callable, Sequence
from itertools import islice

from asyncstream.error_texts import encodable
from asyncstream.errors import AsyncstreamError, Cancelled, FilesFailed, FilesFailedForNow
from asyncstream.events.context import LambdaContext, within
from asyncstream.events.handler_replies import MAX_MESSAGE, problem
from asyncstream.events.items import Item, ItemOutcome
from asyncstream.events.rounds import ALONE, rounds
from asyncstream.locations import TarEntries, ZipEntries
from asyncstream.pipeline.config import TransferConfig
from asyncstream.pipeline.pairs import Pair
from asyncstream.pipeline.results import FileResults, TransferReport
from asyncstream.pipeline.session import TransferSession
from asyncstream.runs.outcomes import BatchOutcome, is_temporary

logger = logging.getLogger(__name__)

# Failures of one kind that get a log line each. When the time is up, all remaining items fail with one kind.
MAX_LOGGED = 20
# Failed files of one item whose errors are read, to find one that may not occur in a later invocation.
MAX_READ = 1_000


# Moves what is left of a batch of a run, and returns its outcome after and before.
MoveBatch = Callable[[str], tuple[BatchOutcome, BatchOutcome]]


def copy_items(
    items: Sequence[Item],
    session: TransferSession,
    config: TransferConfig,
    context: LambdaContext | None,
    move_batch: MoveBatch,
) -> list[ItemOutcome]:
    """Copy the files of the items, log failures, and return each item's outcome, in order.

    `config.at_deadline` says how files end at the deadline; the settings of an item do not change it.
    """
    outcomes = [
        ItemOutcome.from_error(item, item.error) if item.error else ItemOutcome(item) for item in items
    ]
    # The position of the first failed item of each group: later items of the group do not start.
    failed_at: dict[str | None, int] = {}
    for position in reversed(range(len(items))):
        if items[position].error is not None:
            failed_at[items[position].group] = position
    failed_at.pop(None, None)
    for positions in rounds(items):
        started = [each for each in positions if failed_at.get(items[each].group, each) >= each]
        for position in set(positions).difference(started):
            stopped = Cancelled(
                "not started, because an earlier message of the same group failed: order is kept"
            )
            outcomes[position] = ItemOutcome.from_error(items[position], stopped)
        together = [items[position] for position in started]
        if together and together[0].batch:  # batches have rounds of their own
            copied = [_move(item, move_batch) for item in together]
        else:
            copied = _copy(together, session, config, context)
        for position, outcome in zip(started, copied, strict=True):
            outcomes[position] = outcome
            group = outcome.item.group
            if outcome.error is not None and group is not None:
                failed_at[group] = min(position, failed_at.get(group, position))
    _log_failures(outcomes)
    return outcomes


def _log_failures(outcomes: Sequence[ItemOutcome]) -> None:
    """Log a line for each of the first failures of a kind, and one line with the number of the others."""
    logged = Counter[str]()
    for outcome in outcomes:
        if outcome.error is None:
            continue
        kind = type(outcome.error).__name__
        logged[kind] += 1
        if logged[kind] <= MAX_LOGGED:
            name = encodable(outcome.item.name)[:MAX_MESSAGE]
            logger.warning("%s failed: %s: %s", name, kind, problem(outcome.error).message)
    for kind, count in logged.items():
        if count > MAX_LOGGED:
            logger.warning("%d more failed: %s", count - MAX_LOGGED, kind)


def _move(item: Item, move_batch: MoveBatch) -> ItemOutcome:
    """Move a batch of a run, and return an error if rows of it are left."""
    try:
        after, before = move_batch(item.batch)
    except AsyncstreamError as error:
        return ItemOutcome.from_error(item, error)
    failed = 0 if after.again else len(after.failed)
    left = _left_of(after, item.batch) if after.left else None
    return ItemOutcome(item, after.files - before.files, after.bytes - before.bytes, failed, left)


def _left_of(outcome: BatchOutcome, batch: str) -> FilesFailed:
    """Return an error that says how many rows of a batch are left, and why the first one failed."""
    kind = FilesFailedForNow if outcome.again else FilesFailed
    first = next((f": {row.source}: {row.error.message}" for row in outcome.failed if row.error), "")
    return kind(f"{len(outcome.left):,} rows of {batch} are left{first}")


def _copy(
    items: Sequence[Item], session: TransferSession, config: TransferConfig, context: LambdaContext | None
) -> list[ItemOutcome]:
    """Copy the items of one round, which have the same settings, in one transfer."""
    if not items:
        return []
    pairs = list(dict.fromkeys(pair for item in items for pair in item.pairs))
    try:
        # An item must not choose how files end at the deadline: that depends on the trigger.
        chosen = {**items[0].config, "at_deadline": config.at_deadline}
        settings = within(_for_repeats(config, pairs).override(chosen), context)
        report = session.transfer(pairs, settings)
    except AsyncstreamError as error:
        return [ItemOutcome.from_error(item, error) for item in items]
    if any(isinstance(source, ALONE) for source, _ in pairs):
        return [_outcome(item, report) for item in items]  # these have a round of their own
    places = {pair: position for position, pair in enumerate(pairs)}
    return [_outcome(item, report, [places[pair] for pair in item.pairs]) for item in items]


def _for_repeats(config: TransferConfig, pairs: Sequence[Pair]) -> TransferConfig:
    """Return the settings. An archive that a trigger's retry unpacks again only needs its missing files."""
    unpacks = any(isinstance(source, ZipEntries | TarEntries) for source, _ in pairs)
    if unpacks and config.at_deadline == "fail" and config.if_exists == "overwrite":
        return config.override({"if_exists": "skip"})
    return config


def _outcome(item: Item, report: TransferReport, places: Sequence[int] | None = None) -> ItemOutcome:
    """Return the item's outcome from the report's files at these positions; None: from all files."""
    own = report.files if places is None else FileResults.of([report.files[place] for place in places])
    failed = own.number_of("failed")
    return ItemOutcome(
        item,
        files=len(own) - failed,
        bytes=own.bytes,
        failed=failed,
        error=_first_error(own),
    )


def _first_error(own: FileResults) -> Exception | None:
    """Return the first error, if possible one that may not occur again. With several files, add their number.

    An archive with one damaged file and without the time for the others must be tried again.
    """
    errors = [each.error for each in islice(own.of_status("failed"), MAX_READ) if each.error is not None]
    error = next(filter(is_temporary, errors), errors[0] if errors else None)
    if len(own) > 1 and error is not None:
        error.add_note(
            f"{own.number_of('failed'):,} of the item's {len(own):,} files failed; this is the first error"
        )
    return error
