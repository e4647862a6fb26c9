"""The event that asks for pages to be gathered, and what the environment adds to it. Pure.

Whoever may invoke a function must not choose what it can reach within its network, nor to which database it
writes and as whom: that is the deployment's (GATHER_ALLOWED_NETWORKS, POSTGRES_*); `config` cannot set it.
The table is the event's to say, of those that the database's user may write to. A function runs with all that
the role allows: an event may only name one that the deployment lists (GATHER_EVENT_ROWS, GATHER_ROWS).
"""

import os
from collections.abc import Mapping
from typing import Annotated, Any, Self

import msgspec
from msgspec import UNSET, Meta, Struct, UnsetType

from asyncstream.errors import ConfigError, InputError
from asyncstream.events.direct import Uri
from asyncstream.events.reading import at, read, shown
from asyncstream.gathering.config import GatherConfig
from asyncstream.gathering.postgres.statements import Table
from asyncstream.gathering.web import FetchConfig
from asyncstream.locations import S3Object
from asyncstream.units import MiB

# URLs of one event or list: what is kept of each takes about 1 KB.
MOST_URLS = 50_000
MOST_LIST_BYTES = 8 * MiB
# Of EventBridge's rules and of its scheduler.
_SCHEDULES = ("aws.events", "aws.scheduler")
# What services send that read no reply: to them an error is the only way to tell.
_OF_SERVICES = {"detail-type", "Records"}
# What an event may not say, and where it is said instead.
_OF_THE_DEPLOYMENT = {
    "database": "POSTGRES_*",
    "allowed_networks": "GATHER_ALLOWED_NETWORKS",
    "headers": "GATHER_HEADERS",
}

ROWS, EVENT_ROWS, URLS = "GATHER_ROWS", "GATHER_EVENT_ROWS", "GATHER_URLS"
TABLE, KEY, COLUMNS = "GATHER_TABLE", "GATHER_KEY", "GATHER_COLUMNS"


def _settings(of: type[Struct], names: tuple[str, ...], doc: str, **more: Any) -> Any:
    """A struct of some settings of a configuration. Of each that is left out the function's own counts."""
    kinds = {field.name: field.type for field in msgspec.structs.fields(of)}
    fields = {name: kinds[name] for name in names} | more
    return msgspec.defstruct(
        f"{of.__name__.removesuffix('Config')}Settings",
        [(name, kind | UnsetType, UNSET) for name, kind in fields.items()],
        frozen=True,
        kw_only=True,
        forbid_unknown_fields=True,
        namespace={"__doc__": doc, "__module__": __name__},
    )


# By name, so that no setting to come is open to events by itself.
_FetchSettings = _settings(
    FetchConfig,
    (
        *("max_body", "max_redirects", "connections_per_host"),
        *("connect_timeout", "stall_timeout", "page_timeout"),
        *("max_attempts", "retry_base_delay", "retry_max_delay", "retry_max_wait"),
        "user_agent",
    ),
    "Limits of pages: see `FetchConfig`. The networks that may be reached are not among them.",
)
_GatherSettings = _settings(
    GatherConfig,
    ("max_concurrency", "memory_limit", "deadline"),
    "Settings: see `GatherConfig`. The database is not among them.",
    fetch=_FetchSettings,
)


class GatherTable(Table, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The table of an event; see `Table`."""


class GatherEvent(Struct, frozen=True, forbid_unknown_fields=True):
    """What is to be gathered. What an event leaves out, the function's environment says.

    Attributes:
        urls: of the pages.
        urls_from: an S3 object with one URL a line; empty lines and those that begin with # are skipped.
        rows: the function that makes rows of a page, as "module:function", of those that the deployment
            lists; default: the function's own.
        table: where the rows go, of those that the database's user may write to.
        config: settings that override the function's own.
        must_succeed: raise an error where a page was not stored: for whoever does not read the reply.
    """

    urls: Annotated[list[str], Meta(min_length=1, max_length=MOST_URLS)] | None = None
    urls_from: Uri | None = None
    rows: str | None = None
    table: GatherTable | None = None
    config: _GatherSettings = _GatherSettings()  # type: ignore[valid-type]  # made above
    must_succeed: bool = False


class Deployed(Struct, frozen=True):
    """What a function gathers where an event does not say otherwise.

    Attributes:
        urls: URLs (`GATHER_URLS`, with spaces between), or the object that lists them (an S3 URI).
        rows: "module:function" (`GATHER_ROWS`).
        event_rows: the functions that an event may name: those of `GATHER_EVENT_ROWS`, with commas between,
            and `rows`.
        table: `GATHER_TABLE`, such as "prices" or "public.prices", `GATHER_KEY`, such as "sku,day", and
            maybe `GATHER_COLUMNS`, see `Table`.
    """

    urls: tuple[str, ...] | S3Object | None = None
    rows: str | None = None
    table: Table | None = None
    event_rows: frozenset[str] = frozenset()

    @classmethod
    def from_env(cls, environ: Mapping[str, str] = os.environ) -> Self:
        """Read it. An empty variable counts as unset, as templates write it.

        Raises:
            ConfigError: a variable cannot be read.
        """
        rows, listed = environ.get(ROWS, ""), environ.get(EVENT_ROWS, "")
        event_rows = frozenset({rows, *listed.split(",")}) - {""}
        return cls(_urls(environ.get(URLS, "")), rows or None, _table(environ), event_rows)


class Wanted(Struct, frozen=True):
    """What an event asks for, with what the function's environment adds."""

    urls: tuple[str, ...] | S3Object
    rows: str
    table: Table


def read_event(event: Any) -> GatherEvent:
    """Check an event's shape. What a schedule sends asks for what the environment says.

    Raises:
        InputError: a field is unknown, missing, of the wrong type or not the event's to say, or the event is
            of another service; the message names it.
    """
    if isinstance(event, dict):
        if _OF_SERVICES & event.keys():
            return _of_schedule(event)
        _check_settings(event.get("config"))
    asked = read(event, GatherEvent)
    if asked.urls is not None and asked.urls_from is not None:
        raise InputError("the event has both `urls` and `urls_from`: leave one of them out")
    return asked


def is_unread(event: Any) -> bool:
    """Whether nobody reads the reply, so that an error has to tell of what was not stored."""
    if not isinstance(event, dict):
        return False
    return bool(_OF_SERVICES & event.keys()) or event.get("must_succeed") is True


def wanted(event: GatherEvent, deployed: Deployed) -> Wanted:
    """What is to be gathered: what the event says, else what the environment does.

    Raises:
        InputError: neither says it, or the event names a function that is not listed.
    """
    urls: tuple[str, ...] | S3Object | None = deployed.urls
    if event.urls is not None:
        urls = tuple(event.urls)
    elif event.urls_from is not None:
        urls = at("$.urls_from", S3Object.from_uri, event.urls_from)
    if event.rows is not None and event.rows not in deployed.event_rows:
        raise InputError(
            f"an event may not name {shown(event.rows)} as `rows`: name one that the function's {EVENT_ROWS} "
            "lists"
        )
    rows = event.rows or deployed.rows
    table = event.table or deployed.table
    if not urls:
        raise InputError(f"there are no URLs: give `urls` or `urls_from` in the event, or set {URLS}")
    if rows is None:
        raise InputError(
            f"nothing makes rows of a page: set {ROWS}, or give one of {EVENT_ROWS} as `rows` in the event"
        )
    if table is None:
        raise InputError(f"there is no table: give `table` in the event, or set {TABLE} and {KEY}")
    return Wanted(urls, rows, table)


def configured(own: GatherConfig, event: GatherEvent) -> GatherConfig:
    """The function's own configuration, overridden by what the event names."""
    named = _named(event.config)
    if "fetch" in named:
        named["fetch"] = own.fetch.override(_named(named["fetch"]))
    return own.override(named)


def listed(content: bytes, source: S3Object) -> tuple[str, ...]:
    """The URLs of a list, one a line.

    Raises:
        InputError: it is not UTF-8, or has no URL or too many.
    """
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise InputError(f"{source} is no list of URLs: line {line} is not UTF-8") from None
    lines = (line.strip() for line in text.splitlines())
    urls = tuple(line for line in lines if line and not line.startswith("#"))
    if not urls:
        raise InputError(f"{source} lists no URLs: it is to have one a line")
    if len(urls) > MOST_URLS:
        raise InputError(f"{source} lists {len(urls):,} URLs: one event takes {MOST_URLS:,} at most")
    return urls


def begun_at(start: int, urls: tuple[str, ...]) -> tuple[str, ...]:
    """The same URLs, in the same order from another on.

    A schedule comes again and again with one list. If the time is too short for it, it is always for those at
    its end: begun each time at another, no page is left out for good.
    """
    start %= len(urls)
    return urls[start:] + urls[:start]


def _of_schedule(event: Mapping[str, Any]) -> GatherEvent:
    """What a schedule of EventBridge asks for; of other services nothing is taken."""
    kind, source = event.get("detail-type"), event.get("source")
    if kind != "Scheduled Event" or source not in _SCHEDULES:
        raise InputError(
            f"an event {shown(kind)} from {shown(source)} is not handled: those of schedules are, and events"
            " that name what is to be gathered"
        )
    return GatherEvent(must_succeed=True)


def _check_settings(config: Any) -> None:
    """Refuse, with the reason, what is not an event's to say; all else is for `read` to find."""
    if not isinstance(config, dict):
        return
    fetch = config.get("fetch")
    for path, given in (("$.config", config), ("$.config.fetch", fetch if isinstance(fetch, dict) else {})):
        for name in _OF_THE_DEPLOYMENT.keys() & given.keys():
            raise InputError(
                f"the event is malformed at {path}: {name} is the deployment's to say"
                f" ({_OF_THE_DEPLOYMENT[name]}), not that of whoever invokes the function"
            )


def _urls(text: str) -> tuple[str, ...] | S3Object | None:
    urls = tuple(text.split())
    if not any(url.startswith("s3://") for url in urls):
        return urls or None
    try:
        return S3Object.from_uri(text.strip())
    except InputError as error:
        raise ConfigError(f"{URLS}={text!r}: {error}") from None


def _table(environ: Mapping[str, str]) -> Table | None:
    name, key, columns = (environ.get(variable, "") for variable in (TABLE, KEY, COLUMNS))
    if not name and not key and not columns:
        return None
    if not name or not key:
        raise ConfigError(f"{TABLE} and {KEY} go together: the table, and the columns of its key")
    schema, dot, short = name.partition(".")
    return Table(
        name=short if dot else name,
        schema=schema if dot else None,
        key=_split(key),
        columns=_split(columns) if columns else None,
    )


def _split(names: str) -> tuple[str, ...]:
    return tuple(name.strip() for name in names.split(","))


def _named(settings: Any) -> dict[str, Any]:
    """The settings that an event names."""
    given = {name: getattr(settings, name) for name in settings.__struct_fields__}
    return {name: value for name, value in given.items() if value is not UNSET}
