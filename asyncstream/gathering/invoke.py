"""`lambda_handler`: makes the function Lambda calls, which gathers the pages of an event."""

import random
import time
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import Any

from asyncstream.errors import AsyncstreamError
from asyncstream.events import metrics
from asyncstream.events.context import LambdaContext, within
from asyncstream.events.deployment import Deployment
from asyncstream.events.replies import Invoked, sendable
from asyncstream.gathering import events, replies
from asyncstream.gathering.config import GatherConfig
from asyncstream.gathering.events import Deployed
from asyncstream.gathering.pages import RowsOf, check_rows
from asyncstream.gathering.results import GatherReport
from asyncstream.gathering.session import kept_session
from asyncstream.locations import S3Object
from asyncstream.pipeline import session
from asyncstream.pipeline.config import TransferConfig
from asyncstream.transforms.importing import imported

# One GET before everything else gains nothing by another engine, whose SDK takes longer to be loaded.
LIST_ENGINE = "sequential"


def lambda_handler(*, engine: str) -> Callable[[Any, LambdaContext], Any]:
    """The handler of one engine.

    Loads what it needs and makes threads and event loop now, in Lambda's init phase, which has a whole CPU
    whatever the memory size; they live as long as the environment. Postgres is not connected to yet: an
    environment may wait for long between init and its first event, and what is wrong is told by a reply.

    Args:
        engine: "sequential", "threads" or "asyncio".
    """
    # A wrong variable is told by every reply, instead of an import that fails.
    with suppress(AsyncstreamError):
        kept_session(engine).open(GatherConfig.from_env())
        deployed = Deployed.from_env()
        if isinstance(deployed.urls, S3Object):
            session.kept_session(LIST_ENGINE).open()
        if deployed.rows is not None:
            rows_named(deployed.rows)
    return partial(handle_event, engine=engine)


def handle_event(event: Any, context: LambdaContext, *, engine: str) -> Any:
    """Gather what the event asks for.

    Args:
        event: as `events.GatherEvent` describes it, or what a schedule of EventBridge sends.
        context: Lambda's, for the time that is left.
        engine: see `lambda_handler`.

    Returns:
        `replies.GatherReply`, also when the event is wrong.

    Raises:
        AsyncstreamError: only where nobody reads the reply (`events.is_unread`): the event was rejected, or,
            a GatheringFailed, pages were not stored.
    """
    if events.is_unread(event):
        report, invoked = _gather(event, context, engine)
        replies.raise_unstored(report)
        return sendable(replies.reply_to(report, invoked))
    try:
        reply = replies.reply_to(*_gather(event, context, engine))
    except AsyncstreamError as error:
        reply = replies.rejected(error, engine)
    return sendable(reply)


def rows_named(spec: str) -> RowsOf:
    """The function of a user's that makes rows of a page.

    Raises:
        ConfigError: it cannot be imported, or is none that can be called with a page alone.
    """
    found: RowsOf = imported(spec, "rows")
    check_rows(found, repr(spec))
    return found


def _gather(event: Any, context: LambdaContext, engine: str) -> tuple[GatherReport, Invoked]:
    asked = events.read_event(event)
    wanted = events.wanted(asked, Deployed.from_env())
    config = events.configured(GatherConfig.from_env(), asked)
    rows = rows_named(wanted.rows)
    # Lambda's own report does not tell CPU time, by which memory is best chosen.
    cpu_before = time.process_time()
    urls = _listed(wanted.urls, context) if isinstance(wanted.urls, S3Object) else wanted.urls
    if asked.must_succeed:
        urls = events.begun_at(random.randrange(len(urls)), urls)  # noqa: S311 - no secret
    report = kept_session(engine).gather(urls, rows, wanted.table, within(config, context))
    metrics.write(
        "unread" if asked.must_succeed else "direct",
        engine,
        PagesStored=len(report.of("stored")),
        PagesFailed=len(report.failed),
        PagesEmpty=len(report.empty),
        RowsWritten=report.rows,
        Duration=report.seconds,
    )
    return report, Invoked(context.aws_request_id, time.process_time() - cpu_before)


def _listed(source: S3Object, context: LambdaContext) -> tuple[str, ...]:
    """The URLs that an object lists."""
    Deployment.from_env().check_read(source)
    config = within(TransferConfig(), context)
    content = session.kept_session(LIST_ENGINE).read(source, events.MOST_LIST_BYTES, config)
    return events.listed(content, source)
