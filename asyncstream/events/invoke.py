"""`lambda_handler`: makes the function Lambda calls, which turns an event into a reply; for `handlers/`."""

from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import Any, Protocol

import msgspec

from asyncstream import session
from asyncstream.config import TransferConfig
from asyncstream.errors import AsyncstreamError, DeadlineExceeded
from asyncstream.events import direct

# Seconds kept back of the time Lambda gives: for the last replies, the report and the reply.
MARGIN_SECONDS = 2.0


class LambdaContext(Protocol):
    """What is used of the context object Lambda passes."""

    def get_remaining_time_in_millis(self) -> int:
        """Milliseconds until Lambda ends the invocation."""


def lambda_handler(*, engine: str, multipart: bool) -> Callable[[Any, LambdaContext], dict[str, Any]]:
    """The handler of one variant.

    Makes clients, threads and event loop now, in Lambda's init phase, which has a whole CPU whatever the
    memory size; they live as long as the environment.

    Args:
        engine: "sequential", "threads" or "asyncio".
        multipart: the variant's own setting; `ASYNCSTREAM_MULTIPART` and the event may override it.
    """
    # A wrong ASYNCSTREAM_* variable is told by every reply, instead of an import that fails.
    with suppress(AsyncstreamError):
        session.kept_session(engine).open(TransferConfig.from_env(multipart=multipart))
    return partial(handle_event, engine=engine, multipart=multipart)


def handle_event(event: Any, context: LambdaContext, *, engine: str, multipart: bool) -> dict[str, Any]:
    """Copy what the event names, and say what became of it. Never raises for a user's mistake.

    Args:
        event: see `direct.DirectEvent`.
        context: Lambda's, for the time that is left.
        engine: see `lambda_handler`.
        multipart: likewise.

    Returns:
        See `direct.DirectReply`.
    """
    try:
        reply = _reply(event, context, engine, multipart)
    except AsyncstreamError as error:
        reply = direct.rejected(error, engine)
    built: dict[str, Any] = msgspec.to_builtins(reply)
    return built


def _reply(event: Any, context: LambdaContext, engine: str, multipart: bool) -> direct.DirectReply:
    read = direct.read_event(event)
    pairs = direct.pairs_of(read)
    report_to = direct.report_location(read)
    own = TransferConfig.from_env(multipart=multipart)
    config = _within(direct.config_of(event, read, own), context)
    kept = session.kept_session(engine)
    report = kept.transfer(pairs, config)
    if report_to is None:
        return direct.reply_to(report)
    try:
        kept.write(report_to, direct.report_document(report), "application/json", config)
    except AsyncstreamError as error:
        return direct.reply_to(report, report_error=error)
    return direct.reply_to(report, report_uri=report_to.uri)


def _within(config: TransferConfig, context: LambdaContext) -> TransferConfig:
    """The configuration with a deadline that lets the reply out before Lambda's time is up."""
    remaining = context.get_remaining_time_in_millis() / 1000
    # A read that stalls ends by its own timeout, not by the deadline.
    left = remaining - MARGIN_SECONDS - min(config.stall_timeout, remaining / 4)
    if left <= 0:
        raise DeadlineExceeded(
            f"less than {MARGIN_SECONDS:g} s of the invocation are left: nothing was begun"
        )
    if config.deadline is not None and config.deadline <= left:
        return config
    return config.override({"deadline": left})
