"""The event that asks for pages to be gathered, and the environment's own settings. Does no I/O.

A caller that may invoke the function must not choose which networks it reaches, or which database it writes
to and as which user. The deployment sets those (GATHER_ALLOWED_NETWORKS, POSTGRES_*), and `config` cannot.
The event may name any table that the database user may write to. Since a rows function runs with all
permissions of the role, an event may only name one that the deployment lists (GATHER_EVENT_ROWS,
GATHER_ROWS).
"""

import os
from collections.abc import Mapping
from typing import Annotated, Any, Self

import msgspec
from msgspec import UNSET, Meta, Struct, UnsetType

from asyncstream.errors import ConfigError, InputError
from asyncstream.events.direct import Uri
from asyncstream.events.reading import at, read
from asyncstream.gathering.config import GatherConfig
from asyncstream.gathering.postgres.statements import Table
from asyncstream.locations import S3Object
from asyncstream.shown import shown
from asyncstream.units import MiB
from asyncstream.web import FetchConfig

# The most URLs of one event or list; each takes about 1 KB of memory.
MAX_URLS = 50_000
MAX_LIST_BYTES = 8 * MiB
# The sources of EventBridge's rules and of EventBridge Scheduler.
_SCHEDULES = ("aws.events", "aws.scheduler")
# An event with one of these fields is from a service that does not read the reply: only an error reaches it.
_SERVICE_FIELDS = {"detail-type", "Records"}
# Settings that an event may not set, and the variables that set them.
_DEPLOYMENT_SETTINGS = {
    "database": "POSTGRES_*",
    "allowed_networks": "GATHER_ALLOWED_NETWORKS",
    "headers": "GATHER_HEADERS",
}

ROWS, EVENT_ROWS, URLS = "GATHER_ROWS", "GATHER_EVENT_ROWS", "GATHER_URLS"
TABLE, KEY, COLUMNS = "GATHER_TABLE", "GATHER_KEY", "GATHER_COLUMNS"


def _settings(of: type[Struct], names: tuple[str, ...], doc: str, **more: Any) -> Any:
    """Return a struct of some settings of a configuration; a missing one keeps the function's own value."""
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


# Listed by name, so that events cannot set a setting added later unless it is added here, too.
_FetchSettings = _settings(
    FetchConfig,
    (
        *("max_body", "max_redirects", "connections_per_host"),
        *("connect_timeout", "stall_timeout", "page_timeout"),
        *("max_attempts", "retry_base_delay", "retry_max_delay", "retry_max_wait"),
        "user_agent",
    ),
    "Limits for fetching pages: see `FetchConfig`. An event cannot set the allowed networks.",
)
_GatherSettings = _settings(
    GatherConfig,
    ("max_concurrency", "memory_limit", "deadline"),
    "Settings: see `GatherConfig`. An event cannot set the database.",
    fetch=_FetchSettings,
)


class GatherTable(Table, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The table that an event names; see `Table`."""


class GatherEvent(Struct, frozen=True, forbid_unknown_fields=True):
    """The pages to gather. The function's environment supplies every field that the event leaves out.

    Attributes:
        urls: the URLs of the pages.
        urls_from: an S3 object with one URL per line; empty lines and lines starting with # are skipped.
        rows: the function that returns the rows of a page, as "module:function". The deployment must list it.
            Default: the deployment's own.
        table: the table to write to; the database user needs permission to write to it.
        config: settings that override the function's own.
        must_succeed: raise an error if a page was not stored, for callers that do not read the reply.
    """

    urls: Annotated[list[str], Meta(min_length=1, max_length=MAX_URLS)] | None = None
    urls_from: Uri | None = None
    rows: str | None = None
    table: GatherTable | None = None
    config: _GatherSettings = _GatherSettings()  # type: ignore[valid-type]  # made above
    must_succeed: bool = False


class Deployed(Struct, frozen=True):
    """The deployment's defaults for what a function gathers, from its environment variables.

    Attributes:
        urls: URLs (`GATHER_URLS`, separated by spaces), or the S3 object that lists them (an S3 URI).
        rows: "module:function" (`GATHER_ROWS`).
        event_rows: the functions that an event may name: those of `GATHER_EVENT_ROWS`, separated by commas,
            and `rows`.
        table: the table (`GATHER_TABLE`, such as "prices" or "public.prices"), its key (`GATHER_KEY`, such as
            "sku,day") and optionally its columns (`GATHER_COLUMNS`); see `Table`.
    """

    urls: tuple[str, ...] | S3Object | None = None
    rows: str | None = None
    table: Table | None = None
    event_rows: frozenset[str] = frozenset()

    @classmethod
    def from_env(cls, environ: Mapping[str, str] = os.environ) -> Self:
        """Read the variables. An empty variable counts as unset, since templates write unset ones so.

        Raises:
            ConfigError: a variable cannot be read.
        """
        rows, listed = environ.get(ROWS, ""), environ.get(EVENT_ROWS, "")
        event_rows = frozenset({rows, *listed.split(",")}) - {""}
        return cls(_urls(environ.get(URLS, "")), rows or None, _table(environ), event_rows)


class GatherPlan(Struct, frozen=True):
    """The pages to gather, the function of their rows, and the table: from the event and the environment."""

    urls: tuple[str, ...] | S3Object
    rows: str
    table: Table


def read_event(event: Any) -> GatherEvent:
    """Check and decode an event. An event from a schedule asks for what the environment names.

    Raises:
        InputError: a field is unknown, missing, of the wrong type or may not be set by an event, or the event
            is from another service; the message names the field or service.
    """
    if isinstance(event, dict):
        if _SERVICE_FIELDS & event.keys():
            return _schedule_event(event)
        _check_settings(event.get("config"))
    request = read(event, GatherEvent)
    if request.urls is not None and request.urls_from is not None:
        raise InputError("the event has both `urls` and `urls_from`: leave one of them out")
    return request


def is_unread(event: Any) -> bool:
    """Return whether the sender ignores the reply, so that an error must report pages not stored."""
    if not isinstance(event, dict):
        return False
    return bool(_SERVICE_FIELDS & event.keys()) or event.get("must_succeed") is True


def plan_gathering(event: GatherEvent, deployed: Deployed) -> GatherPlan:
    """Return the plan of a gathering: the event's fields, or else those of the environment.

    Raises:
        InputError: a field is in neither, or the event names a function that is not listed.
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
            f"no rows function is named: set {ROWS}, or give one of {EVENT_ROWS} as `rows` in the event"
        )
    if table is None:
        raise InputError(f"there is no table: give `table` in the event, or set {TABLE} and {KEY}")
    return GatherPlan(urls, rows, table)


def merge_config(own: GatherConfig, event: GatherEvent) -> GatherConfig:
    """Return the function's own configuration, with the settings that the event gives."""
    named = _given_settings(event.config)
    if "fetch" in named:
        named["fetch"] = own.fetch.override(_given_settings(named["fetch"]))
    return own.override(named)


def parse_url_list(content: bytes, source: S3Object) -> tuple[str, ...]:
    """Parse a list of URLs, one per line. Skip empty lines and lines that start with #.

    Raises:
        InputError: the list is not UTF-8, has no URLs or has too many.
    """
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise InputError(
            f"{source} is not a list of URLs: line {line} is not UTF-8. Save it as UTF-8"
        ) from None
    lines = (line.strip() for line in text.splitlines())
    urls = tuple(line for line in lines if line and not line.startswith("#"))
    if not urls:
        raise InputError(f"{source} lists no URLs: write one per line")
    if len(urls) > MAX_URLS:
        raise InputError(f"{source} lists {len(urls):,} URLs: one event takes {MAX_URLS:,} at most. Split it")
    return urls


def rotate_urls(start: int, urls: tuple[str, ...]) -> tuple[str, ...]:
    """Return the URLs rotated, so that the one at index `start` (modulo their number) comes first.

    A schedule sends the same list every time. If the time is too short for all of it, the URLs at its end are
    left out. Starting at a different URL each time gives every page its turn.
    """
    start %= len(urls)
    return urls[start:] + urls[:start]


def _schedule_event(event: Mapping[str, Any]) -> GatherEvent:
    """Return the event for an EventBridge schedule; raise InputError for an event of another service."""
    kind, source = event.get("detail-type"), event.get("source")
    if kind != "Scheduled Event" or source not in _SCHEDULES:
        raise InputError(
            f"an event {shown(kind)} from {shown(source)} is not handled: send an event of a schedule, or"
            " one that names the pages to gather"
        )
    return GatherEvent(must_succeed=True)


def _check_settings(config: Any) -> None:
    """Raise InputError if an event sets a setting of the deployment; `read` finds all other errors."""
    if not isinstance(config, dict):
        return
    fetch = config.get("fetch")
    for path, given in (("$.config", config), ("$.config.fetch", fetch if isinstance(fetch, dict) else {})):
        for name in _DEPLOYMENT_SETTINGS.keys() & given.keys():
            raise InputError(
                f"the event is malformed at {path}: an event may not set {name}:"
                f" set {_DEPLOYMENT_SETTINGS[name]} in the deployment"
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
        raise ConfigError(f"{TABLE} and {KEY} go together: set both, the table and the columns of its key")
    schema, dot, short = name.partition(".")
    return Table(
        name=short if dot else name,
        schema=schema if dot else None,
        key=_split(key),
        columns=_split(columns) if columns else None,
    )


def _split(names: str) -> tuple[str, ...]:
    return tuple(name.strip() for name in names.split(","))


def _given_settings(settings: Any) -> dict[str, Any]:
    """Return the settings that an event gives, without the unset ones."""
    given = {name: getattr(settings, name) for name in settings.__struct_fields__}
    return {name: value for name, value in given.items() if value is not UNSET}
