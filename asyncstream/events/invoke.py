"""`lambda_handler`: creates the function that Lambda calls with an event, and that returns the reply."""

import time
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from asyncstream import transforms
from asyncstream.engines import EngineName
from asyncstream.errors import AsyncstreamError
from asyncstream.events import direct, direct_reply, metrics
from asyncstream.events.batch_events import is_run_step
from asyncstream.events.context import Handler, LambdaContext, request_id, within
from asyncstream.events.copying_items import copy_items
from asyncstream.events.deployment import Deployment, deployed_session
from asyncstream.events.handler_replies import Invoked, sendable
from asyncstream.events.triggers import Trigger, find_trigger
from asyncstream.pipeline import memory
from asyncstream.pipeline.config import TransferConfig, memory_left

if TYPE_CHECKING:
    from asyncstream.events.run_steps import Steps


def lambda_handler(*, engine: EngineName, multipart: bool) -> Handler:
    """Return the handler for one engine.

    Creates clients, threads and the event loop now, because Lambda's init phase has a whole CPU for any
    memory size. They live as long as the environment. The modules of the function's transform are imported.

    Args:
        engine: "sequential", "threads" or "asyncio".
        multipart: the default of this setting; `ASYNCSTREAM_MULTIPART` and the event may override it.

    Returns:
        A function `handler(event, context)`; see `handle_event`.
    """
    # Every reply reports a wrong ASYNCSTREAM_* variable, instead of a failed import.
    with suppress(AsyncstreamError):
        config = TransferConfig.from_env(multipart=multipart)
        with deployed_session(engine) as session:
            session.open(config)
        if config.transform is not None:
            transforms.factory(config.transform)

    # A function, and not a partial: decorators of handlers read its name.
    def handler(event: Any, context: LambdaContext | None) -> Any:
        """Copy the files of an event, and return the reply that its sender expects."""
        return handle_event(event, context, engine=engine, multipart=multipart)

    return handler


def handle_event(event: Any, context: LambdaContext | None, *, engine: EngineName, multipart: bool) -> Any:
    """Copy the files of an event, and return the reply that its sender expects.

    Args:
        event: a step of a run (see `run_events.py`), a trigger's event (see `triggers.py`), or else a
            `direct.DirectEvent`.
        context: Lambda's context object, which has the time left. None, as in a unit test: there is no
            deadline, and the reply's `request_id` is empty.
        engine: see `lambda_handler`.
        multipart: see `lambda_handler`.

    Returns:
        The reply that the trigger expects. For a direct event a `direct_reply.DirectReply`, even if the event
        is malformed.

    Raises:
        AsyncstreamError: only for steps of runs, and for triggers that learn of failures by an error.
    """
    if is_run_step(event):
        config = TransferConfig.from_env(multipart=multipart)
        return sendable(_steps(Deployment.from_env(), engine, config, context).take(event))
    trigger = find_trigger(event)
    if trigger is not None:
        return sendable(_triggered(trigger, context, engine, multipart))
    try:
        reply = _direct(event, context, engine, multipart)
    except AsyncstreamError as error:
        reply = direct_reply.rejected(error, engine)
    return sendable(reply)


def _steps(
    deployment: Deployment, engine: EngineName, config: TransferConfig, context: LambdaContext | None
) -> "Steps":
    """Return the steps of runs. Their modules are imported only now, since cold starts count."""
    from asyncstream.events.run_steps import Steps  # noqa: PLC0415

    return Steps(deployment, engine, config, context)


def _triggered(trigger: Trigger, context: LambdaContext | None, engine: EngineName, multipart: bool) -> Any:
    started = time.monotonic()
    deployment = Deployment.from_env()
    items = trigger.items(deployment)
    # No trigger invokes the function again for pending files: it must learn of them as failures.
    config = TransferConfig.from_env(multipart=multipart).override({"at_deadline": "fail"})
    with deployed_session(engine) as session:
        outcomes = copy_items(
            items, session, config, context, lambda uri: _steps(deployment, engine, config, context).move(uri)
        )
    metrics.write(
        trigger.name,
        engine,
        FilesCopied=sum(each.files for each in outcomes),
        FilesFailed=sum(each.failed for each in outcomes),
        BytesCopied=sum(each.bytes for each in outcomes),
        Duration=time.monotonic() - started,
    )
    return trigger.reply(outcomes)


def _direct(
    event: Any, context: LambdaContext | None, engine: EngineName, multipart: bool
) -> direct_reply.DirectReply:
    request = direct.read_event(event)
    deployment = Deployment.from_env()
    pairs = direct.event_pairs(request, one_server=deployment.one_server)
    report_to = direct.report_location(request, pairs)
    deployment.check(pairs)
    settings = direct.named_settings(event, request)
    deployment.check_settings(settings)
    if report_to is not None:
        deployment.check_written(report_to)
    # The caller reads the pending files, and can invoke the function again for them.
    own = TransferConfig.from_env(multipart=multipart, at_deadline=direct.at_deadline(request))
    own = own.override(settings)
    with deployed_session(engine) as session:
        # Lambda's own report has no CPU time, the best measure to choose the memory size by.
        cpu_before = time.process_time()
        report = session.transfer(
            pairs,
            within(own, context),
            continuations=direct.event_continuations(request, pairs),
            untouched=report_to,
        )
        invoked = Invoked(request_id(context), time.process_time() - cpu_before)
        metrics.write(
            "direct",
            engine,
            FilesCopied=report.count("copied"),
            FilesFailed=report.count("failed"),
            BytesCopied=report.bytes,
            Duration=report.seconds,
        )
        if report_to is None:
            return direct_reply.reply_to(report, invoked)
        try:
            room = memory_left(memory.lambda_memory(), memory.resident())
            document = direct_reply.report_document(report, room)
            # `within` again, for the time left now. If this fails, the reply still has the results.
            session.write(report_to, memoryview(document), "application/json", within(own, context))
        except AsyncstreamError as error:
            return direct_reply.reply_to(report, invoked, report_error=error)
        return direct_reply.reply_to(report, invoked, report_uri=report_to.uri)
