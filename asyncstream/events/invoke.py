"""`lambda_handler`: makes the function Lambda calls, which turns an event into a reply."""

import time
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import Any

from asyncstream import transforms
from asyncstream.errors import AsyncstreamError
from asyncstream.events import direct, metrics
from asyncstream.events.context import LambdaContext, within
from asyncstream.events.deployment import Deployment
from asyncstream.events.replies import Invoked, sendable
from asyncstream.events.running import run
from asyncstream.events.triggers import Trigger, trigger_of
from asyncstream.pipeline import memory, session
from asyncstream.pipeline.config import TransferConfig, memory_left


def lambda_handler(*, engine: str, multipart: bool) -> Callable[[Any, LambdaContext], Any]:
    """The handler of one variant.

    Makes clients, threads and event loop now, in Lambda's init phase, which has a whole CPU whatever the
    memory size; they live as long as the environment. What the function's transform is of is imported.

    Args:
        engine: "sequential", "threads" or "asyncio".
        multipart: the variant's own setting; `ASYNCSTREAM_MULTIPART` and the event may override it.
    """
    # A wrong ASYNCSTREAM_* variable is told by every reply, instead of an import that fails.
    with suppress(AsyncstreamError):
        config = TransferConfig.from_env(multipart=multipart)
        session.kept_session(engine).open(config)
        if config.transform is not None:
            transforms.factory(config.transform)
    return partial(handle_event, engine=engine, multipart=multipart)


def handle_event(event: Any, context: LambdaContext, *, engine: str, multipart: bool) -> Any:
    """Copy what the event asks for, and answer as what sent it expects.

    Args:
        event: of a trigger (see `triggers.py`), else as `direct.DirectEvent` describes it.
        context: Lambda's, for the time that is left.
        engine: see `lambda_handler`.
        multipart: likewise.

    Returns:
        What the trigger expects; to a direct event `direct.DirectReply`, also when it is wrong.

    Raises:
        InputError, ConfigError, FilesFailed: only where the trigger is told of failures by an error.
    """
    trigger = trigger_of(event)
    if trigger is not None:
        return sendable(_triggered(trigger, context, engine, multipart))
    try:
        reply = _direct(event, context, engine, multipart)
    except AsyncstreamError as error:
        reply = direct.rejected(error, engine)
    return sendable(reply)


def _triggered(trigger: Trigger, context: LambdaContext, engine: str, multipart: bool) -> Any:
    started = time.monotonic()
    items = trigger.items(Deployment.from_env())
    config = TransferConfig.from_env(multipart=multipart)
    if trigger.chained:
        config = config.override({"at_deadline": "pending"})
    outcomes = run(items, session.kept_session(engine), config, context)
    metrics.write(
        trigger.name,
        engine,
        FilesCopied=sum(each.files for each in outcomes),
        FilesFailed=sum(each.failed for each in outcomes),
        BytesCopied=sum(each.bytes for each in outcomes),
        Duration=time.monotonic() - started,
    )
    return trigger.reply(outcomes)


def _direct(event: Any, context: LambdaContext, engine: str, multipart: bool) -> direct.DirectReply:
    asked = direct.read_event(event)
    pairs = direct.pairs_of(asked)
    report_to = direct.report_location(asked, pairs)
    deployment = Deployment.from_env()
    deployment.check(pairs)
    settings = direct.named_settings(event, asked)
    deployment.check_settings(settings)
    if report_to is not None:
        deployment.check_written(report_to)
    # Whoever invoked the function reads what is left, and can have it done.
    own = TransferConfig.from_env(multipart=multipart, at_deadline="pending").override(settings)
    kept = session.kept_session(engine)
    # Lambda's own report does not tell CPU time, by which memory is best chosen.
    cpu_before = time.process_time()
    report = kept.transfer(
        pairs,
        within(own, context),
        continuations=direct.continuations_of(asked, pairs),
        untouched=report_to,
    )
    invoked = Invoked(context.aws_request_id, time.process_time() - cpu_before)
    metrics.write(
        "direct",
        engine,
        FilesCopied=report.count("copied"),
        FilesFailed=report.count("failed"),
        BytesCopied=report.bytes,
        Duration=report.seconds,
    )
    if report_to is None:
        return direct.reply_to(report, invoked)
    try:
        room = memory_left(memory.lambda_memory(), memory.resident())
        document = direct.report_document(report, room)
        # In the time that is left by now. Without the report the reply still has the results.
        kept.write(report_to, memoryview(document), "application/json", within(own, context))
    except AsyncstreamError as error:
        return direct.reply_to(report, invoked, report_error=error)
    return direct.reply_to(report, invoked, report_uri=report_to.uri)
