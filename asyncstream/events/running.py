"""A trigger's items copied, round by round, within the time Lambda gives; called by `invoke.py`."""

import logging
from collections.abc import Mapping, Sequence

from asyncstream.config import TransferConfig
from asyncstream.errors import AsyncstreamError, Cancelled, told
from asyncstream.events.context import LambdaContext, within
from asyncstream.events.items import Item, Outcome
from asyncstream.events.rounds import rounds
from asyncstream.locations import S3Object
from asyncstream.results import FileResult
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
    results = {(result.source, result.destination): result for result in report.files}
    return [_outcome(item, results) for item in items]


def _outcome(item: Item, results: Mapping[tuple[S3Object, S3Object], FileResult]) -> Outcome:
    """What became of the item's files; a prefix has a round of its own, so all results are its."""
    own = [results[pair] for pair in item.pairs if isinstance(pair[0], S3Object)]
    own = own if len(own) == len(item.pairs) else list(results.values())
    failed = [result for result in own if result.error is not None]
    pending = [result for result in own if result.status == "pending"]
    return Outcome(
        item,
        files=len(own) - len(failed) - len(pending),
        bytes=sum(result.bytes for result in own),
        failed=len(failed),
        error=_first_of(failed, len(own)),
        pending=bool(pending),
        continuation=pending[0].continuation if pending else None,
    )


def _first_of(failed: Sequence[FileResult], files: int) -> Exception | None:
    """The first error; with the number of all where there are several."""
    if not failed:
        return None
    error = failed[0].error
    if files > 1 and error is not None:
        error.add_note(f"{len(failed):,} of the item's {files:,} files failed, of which this is the first")
    return error
