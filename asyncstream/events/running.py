"""A trigger's items copied, round by round, within the time Lambda gives; called by `invoke.py`."""

import logging
from collections.abc import Sequence

from asyncstream.config import TransferConfig
from asyncstream.errors import AsyncstreamError, Cancelled, told
from asyncstream.events.context import LambdaContext, within
from asyncstream.events.items import Item, Outcome
from asyncstream.events.rounds import rounds
from asyncstream.locations import S3Object, S3Prefix
from asyncstream.results import FileResults, TransferReport
from asyncstream.session import TransferSession

logger = logging.getLogger(__name__)


def run(
    items: Sequence[Item], kept: TransferSession, config: TransferConfig, context: LambdaContext
) -> list[Outcome]:
    """Copy what the items ask for; each one's end, in their order. Failures are also logged."""
    outcomes = [Outcome.of_failure(item, item.error) if item.error else Outcome(item) for item in items]
    for positions in rounds(items):
        begun = [position for position in positions if not _is_blocked(outcomes, position)]
        for position in positions:
            outcomes[position] = Outcome.of_failure(items[position], _NOT_BEGUN)
        copied = _copy([items[position] for position in begun], kept, config, context)
        for position, outcome in zip(begun, copied, strict=True):
            outcomes[position] = outcome
    for outcome in outcomes:
        if outcome.error is not None:
            kind = type(outcome.error).__name__
            logger.warning("%s failed: %s: %s", outcome.item.name, kind, told(outcome.error))
    return outcomes


_NOT_BEGUN = Cancelled("not begun, as an earlier message of the same group failed: the order is kept")


def _is_blocked(outcomes: Sequence[Outcome], position: int) -> bool:
    """Whether an earlier item of the same group has failed."""
    group = outcomes[position].item.group
    if group is None:
        return False
    return any(each.item.group == group and each.error is not None for each in outcomes[:position])


def _copy(
    items: Sequence[Item], kept: TransferSession, config: TransferConfig, context: LambdaContext
) -> list[Outcome]:
    """Copy one round's items, whose settings are the same, in one transfer."""
    if not items:
        return []
    pairs = list(dict.fromkeys(pair for item in items for pair in item.pairs))
    try:
        left = {
            (source, destination): item.continuation
            for item in items
            for source, destination in item.pairs
            if item.continuation and isinstance(source, S3Object) and isinstance(destination, S3Object)
        }
        settings = within(config.override(items[0].config), context)
        report = kept.transfer(pairs, settings, continuations=left)
    except AsyncstreamError as error:
        return [Outcome.of_failure(item, error) for item in items]
    if any(isinstance(source, S3Prefix) for source, _ in pairs):
        return [_outcome(item, report) for item in items]  # a prefix has a round of its own
    places = {pair: position for position, pair in enumerate(pairs)}
    return [_outcome(item, report, [places[pair] for pair in item.pairs]) for item in items]


def _outcome(item: Item, report: TransferReport, places: Sequence[int] | None = None) -> Outcome:
    """What became of the item's files: of those at these places, or of all."""
    own = report.files if places is None else FileResults.of([report.files[place] for place in places])
    failed, pending = own.number_of("failed"), own.number_of("pending")
    begun = next(own.of_status("pending"), None)
    return Outcome(
        item,
        files=len(own) - failed - pending,
        bytes=own.bytes,
        failed=failed,
        error=_first_of(own),
        pending=begun is not None,
        continuation=begun.continuation if begun else None,
    )


def _first_of(own: FileResults) -> Exception | None:
    """The first error; with the number of all where there are several."""
    first = next(own.of_status("failed"), None)
    error = first.error if first else None
    if len(own) > 1 and error is not None:
        error.add_note(
            f"{own.number_of('failed'):,} of the item's {len(own):,} files failed, of which this is the first"
        )
    return error
