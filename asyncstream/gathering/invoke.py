"""`lambda_handler`: make the function that Lambda calls to gather the pages of an event."""

import random
import time
from contextlib import suppress
from typing import Any

from asyncstream.engines import EngineName
from asyncstream.errors import AsyncstreamError
from asyncstream.events import metrics
from asyncstream.events.context import Handler, LambdaContext, request_id, within
from asyncstream.events.deployment import Deployment, deployed_session
from asyncstream.events.handler_replies import Invoked, sendable
from asyncstream.gathering import events, gather_reply
from asyncstream.gathering.config import GatherConfig
from asyncstream.gathering.events import Deployed
from asyncstream.gathering.pages import RowsOf, check_rows
from asyncstream.gathering.results import GatherReport
from asyncstream.gathering.session import borrow_session
from asyncstream.locations import S3Object
from asyncstream.pipeline.config import TransferConfig
from asyncstream.transforms.importing import import_object

# Reading the list is one GET: another engine would not be faster, and its SDK takes longer to load.
LIST_ENGINE: EngineName = "sequential"


def lambda_handler(*, engine: EngineName) -> Handler:
    """Return the handler for one engine.

    Loads modules and starts threads and the event loop now, in Lambda's init phase, which has a whole CPU at
    every memory size. They live as long as the environment. The connection to Postgres is not opened yet: an
    environment may wait for a long time between init and its first event, and a reply can report an error.

    Args:
        engine: "sequential", "threads" or "asyncio".

    Returns:
        A function `handler(event, context)`; see `handle_event`.
    """
    # If a variable is wrong, every reply says so; the import must not fail.
    with suppress(AsyncstreamError):
        with borrow_session(engine) as session:
            session.open(GatherConfig.from_env())
        deployed = Deployed.from_env()
        if isinstance(deployed.urls, S3Object):
            with deployed_session(LIST_ENGINE) as reader:
                reader.open()
        if deployed.rows is not None:
            import_rows(deployed.rows)

    # A function, and not a partial: decorators of handlers read its name.
    def handler(event: Any, context: LambdaContext | None) -> Any:
        """Gather the pages that an event asks for, and return the reply."""
        return handle_event(event, context, engine=engine)

    return handler


def handle_event(event: Any, context: LambdaContext | None, *, engine: EngineName) -> Any:
    """Gather the pages that the event asks for.

    Args:
        event: an `events.GatherEvent`, or the event that an EventBridge schedule sends.
        context: Lambda's context object, which has the time left. None, as in a unit test: there is no
            deadline, and the reply's `request_id` is empty.
        engine: see `lambda_handler`.

    Returns:
        A `gather_reply.GatherReply`, also if the event is wrong.

    Raises:
        AsyncstreamError: only if the caller does not read the reply (`events.is_unread`). The event was
            rejected, or pages were not stored (GatheringFailed).
    """
    if events.is_unread(event):
        report, invoked = _gather(event, context, engine)
        gather_reply.raise_unstored(report)
        return sendable(gather_reply.reply_to(report, invoked))
    try:
        reply = gather_reply.reply_to(*_gather(event, context, engine))
    except AsyncstreamError as error:
        reply = gather_reply.rejected(error, engine)
    return sendable(reply)


def import_rows(spec: str) -> RowsOf:
    """Import the user's function that returns the rows of a page.

    Raises:
        ConfigError: it cannot be imported, or it cannot be called with a page alone.
    """
    found: RowsOf = import_object(spec, "rows")
    check_rows(found, repr(spec))
    return found


def _gather(event: Any, context: LambdaContext | None, engine: EngineName) -> tuple[GatherReport, Invoked]:
    request = events.read_event(event)
    plan = events.plan_gathering(request, Deployed.from_env())
    config = events.merge_config(GatherConfig.from_env(), request)
    rows = import_rows(plan.rows)
    # Lambda does not report CPU time, which is the best guide to choosing a memory size.
    cpu_before = time.process_time()
    urls = _read_url_list(plan.urls, context) if isinstance(plan.urls, S3Object) else plan.urls
    if request.must_succeed:
        urls = events.rotate_urls(random.randrange(len(urls)), urls)  # noqa: S311 - no secret
    with borrow_session(engine) as session:
        report = session.gather(urls, rows, plan.table, within(config, context))
    metrics.write(
        "unread" if request.must_succeed else "direct",
        engine,
        PagesStored=len(report.of("stored")),
        PagesFailed=len(report.failed),
        PagesEmpty=len(report.empty),
        RowsWritten=report.rows,
        Duration=report.seconds,
    )
    return report, Invoked(request_id(context), time.process_time() - cpu_before)


def _read_url_list(source: S3Object, context: LambdaContext | None) -> tuple[str, ...]:
    """Read the URLs that an S3 object lists."""
    Deployment.from_env().check_read(source)
    config = within(TransferConfig(), context)
    with deployed_session(LIST_ENGINE) as session:
        content = session.read(source, events.MAX_LIST_BYTES, config)
    return events.parse_url_list(content, source)
