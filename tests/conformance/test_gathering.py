"""Every engine gathers pages of a local web into a real Postgres: one result per page, no row twice.

`test_web_*.py` and `test_postgres_*.py` test fetching and writing alone.
"""

import contextlib
import gc
import itertools
import json
import sys
import threading
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from types import SimpleNamespace
from typing import Any

import pytest

from asyncstream import ConfigError, InputError, TransformError
from asyncstream.engines import EngineName
from asyncstream.errors import AccessDenied, DatabaseError, PageNotFound, RowRefused, TableNotFound
from asyncstream.gathering import (
    DatabaseConfig,
    FetchConfig,
    GatherConfig,
    GatherReport,
    GatherSession,
    PageResult,
    Table,
    gather_pages,
    gather_pages_async,
    session,
)
from asyncstream.lab.web import LabWeb, WebModel
from asyncstream.lab.web.model import rows_of_page
from asyncstream.web.pages import Page
from tests.servers.base import GUARD_SECONDS, PATIENCE, until
from tests.servers.postgres import APPLICATION, Schema, meanwhile

Gather = Callable[..., GatherReport]
LAB_WEB: dict[str, Any] = {"allowed_networks": LabWeb.ALLOWED_NETWORKS, "retry_base_delay": 0.01}

PAGES = 60
COLUMNS = "id bigint PRIMARY KEY, page int, name text, price numeric"
TABLE = Table(name="t", key=("id",))
MODEL = WebModel(latency=0.02)


@pytest.fixture(scope="module")
def web() -> Iterator[LabWeb]:
    with LabWeb(MODEL, hosts=5) as web:
        yield web


@pytest.fixture(autouse=True)
def reset_counts(web: LabWeb) -> None:
    web.reset()


@pytest.fixture
def table(schema: Schema) -> Schema:
    schema.create(COLUMNS)
    return schema


@pytest.fixture
def gather(engine: EngineName, schema: Schema) -> Iterator[Gather]:
    with GatherSession(engine) as session:

        def gather(
            urls: Iterable[str],
            rows: Any = rows_in,
            table: Any = TABLE,
            on_page: Callable[[PageResult], None] = lambda _: None,
            **settings: Any,
        ) -> GatherReport:
            return session.gather(urls, rows, table, config(schema, **settings), on_page)

        yield gather


def config(
    schema: Schema,
    *,
    fetch: dict[str, Any] | None = None,
    database: dict[str, Any] | None = None,
    **settings: Any,
) -> GatherConfig:
    return GatherConfig(
        fetch=FetchConfig(**LAB_WEB | (fetch or {})),
        database=DatabaseConfig(**{"dsn": schema.server.dsn()} | (database or {})),
        **settings,
    )


def rows_in(page: Page) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = json.loads(page.body)
    return rows


def expected(numbers: Iterable[int]) -> list[tuple[Any, ...]]:
    return [tuple(row.values()) for number in numbers for row in rows_of_page(number)]


def statuses(report: GatherReport) -> list[str]:
    return [page.status for page in report.pages]


def test_pages_gathered_twice_are_stored_once_and_then_unchanged(
    web: LabWeb, table: Schema, gather: Gather
) -> None:
    urls = web.urls(PAGES)
    first = gather(urls, database={"batch_rows": 150})
    assert [page.url for page in first.pages] == urls
    assert statuses(first) == ["stored"] * PAGES
    assert (first.rows, first.batches) == (PAGES * 10, 4)
    assert table.rows() == expected(range(PAGES))
    again = gather(urls)
    assert statuses(again) == ["unchanged"] * PAGES
    assert [page.unchanged for page in again.pages] == [10] * PAGES
    assert table.rows() == expected(range(PAGES))


def test_a_faulty_page_has_an_end_and_the_others_are_stored(table: Schema, gather: Gather) -> None:
    """Pages are slow, missing, busy, reset or stalled."""
    model = WebModel(faults=0.4, seed=3)
    faults = [model.fault(number) for number in range(PAGES)]
    assert len(set(faults)) == 6
    tries = dict.fromkeys(["", "slow", "missing"], 1) | dict.fromkeys(["busy", "reset", "stalled"], 2)
    expected_tries = [tries[fault] for fault in faults]
    with LabWeb(model, hosts=3) as web:
        for stall_timeout in PATIENCE:
            web.reset()
            table.execute("TRUNCATE {schema}.t")
            report = gather(web.urls(PAGES), fetch={"stall_timeout": stall_timeout, "max_attempts": 2})
            if [page.attempts for page in report.pages] == expected_tries:
                break
    ends = dict.fromkeys(["", "busy", "reset", "slow"], "stored") | {"missing": "failed", "stalled": "failed"}
    assert statuses(report) == [ends[fault] for fault in faults]
    assert all(
        isinstance(report.pages[n].error, PageNotFound) == (f == "missing") for n, f in enumerate(faults)
    )
    assert [page.attempts for page in report.pages] == expected_tries
    assert table.rows() == expected(n for n, fault in enumerate(faults) if ends[fault] == "stored")


def test_a_failed_function_or_refused_row_costs_only_its_page(
    web: LabWeb, table: Schema, gather: Gather
) -> None:
    def rows(page: Page) -> Iterator[dict[str, Any]]:
        for row in rows_in(page):
            if row["id"] == 35:
                raise LookupError("no price")
            yield row | ({"price": "cheap"} if row["id"] == 128 else {})

    report = gather(web.urls(PAGES), rows)
    failed = {number: page.error for number, page in enumerate(report.pages) if page.status == "failed"}
    assert {number: type(error) for number, error in failed.items()} == {3: TransformError, 12: RowRefused}
    assert "the rows of the page: LookupError: no price (" in str(failed[3])
    assert "cheap" in str(failed[12])
    assert table.rows() == expected(number for number in range(PAGES) if number not in failed)


def test_a_page_without_rows_and_one_named_twice_have_their_ends(
    web: LabWeb, table: Schema, gather: Gather
) -> None:
    urls = web.urls(3)
    report = gather(
        [urls[0], urls[1], urls[0], "ftp://a.test"],
        lambda page: [] if page.url.endswith("/1") else rows_in(page),
    )
    assert statuses(report) == ["stored", "unchanged", "failed"]
    assert [page.url for page in report.empty] == [urls[1]]
    assert [page.attempts for page in report.pages] == [1, 1, 0]
    assert isinstance(report.pages[2].error, InputError)
    assert sum(web.counts()["requests"].values()) == 2


def test_rows_of_a_key_that_is_too_small_are_told_as_replaced(
    web: LabWeb, table: Schema, gather: Gather
) -> None:
    report = gather(web.urls(4), lambda page: [row | {"id": 1} for row in rows_in(page)])
    assert (report.rows, report.replaced) == (1, 39)
    assert Counter(statuses(report)) == {"stored": 1, "unchanged": 3}
    assert report.empty == []
    assert len(table.rows()) == 1


def references(held: list[bytes]) -> set[int]:
    return {sys.getrefcount(each) for each in held}


@pytest.mark.parametrize("wrong", ["raises", "no column", "no JSON"])
def test_a_page_whose_rows_fail_is_not_kept_in_memory(
    web: LabWeb, table: Schema, gather: Gather, wrong: str
) -> None:
    """The function raises, or a row has an unknown column or a value that JSON lacks."""
    bodies = []

    def rows(page: Page) -> Iterator[dict[str, Any]]:
        bodies.append(page.body)
        yield from (row | {"name": {"no column": [], "no JSON": object}.get(wrong)} for row in rows_in(page))
        if wrong == "no column":
            yield {"id": 1, "colour": "red"}
        if wrong == "raises":
            try:
                raise KeyError
            except KeyError:
                raise LookupError("no price") from None

    report = gather(web.urls(10), rows)
    kind = TransformError if wrong == "raises" else RowRefused
    assert [type(page.error) for page in report.failed] == [kind] * 10
    # The traceback of an error from `json.loads` would hold the text.
    assert wrong != "raises" or {page.error and page.error.__cause__ for page in report.failed} == {None}
    gc.collect()
    # Compared with bytes that only this list holds: Python versions count different numbers of references.
    alone = [bytes(1000)]
    assert references(bodies) == references(alone)


def test_once_writing_fails_no_more_pages_are_fetched(
    web: LabWeb, table: Schema, gather: Gather, engine: EngineName
) -> None:
    """Each remaining page reports why it failed."""

    def drop(_: object) -> None:
        table.execute("DROP TABLE IF EXISTS {schema}.t")

    report = gather(web.urls(200), on_page=drop, max_concurrency=4, database={"batch_rows": 100})
    ends = Counter((page.status, type(page.error)) for page in report.pages)
    assert ends == {("stored", type(None)): 10, ("failed", TableNotFound): 190}
    assert sum(web.counts()["requests"].values()) < 60


def test_a_batch_that_fails_by_itself_ends_no_other(web: LabWeb, table: Schema, gather: Gather) -> None:
    table.execute(
        "CREATE FUNCTION {schema}.fail() RETURNS trigger LANGUAGE plpgsql AS"
        " $$BEGIN IF NEW.id = 55 THEN RAISE SQLSTATE 'XX000'; END IF; RETURN NEW; END$$"
    )
    table.execute(
        "CREATE TRIGGER fail BEFORE INSERT ON {schema}.t FOR EACH ROW EXECUTE FUNCTION {schema}.fail()"
    )
    report = gather(web.urls(PAGES), database={"batch_rows": 100})
    ends = Counter((page.status, type(page.error), page.attempts) for page in report.pages)
    assert ends == {("stored", type(None), 1): PAGES - 10, ("failed", DatabaseError, 1): 10}
    assert len(table.rows()) == 10 * (PAGES - 10)


def test_sixty_pages_at_once_share_one_postgres_connection(
    web: LabWeb, table: Schema, gather: Gather, engine: EngineName
) -> None:
    """The pages open only a few connections to each host."""
    backends = set()
    most = []

    def note(_: object) -> None:
        backends.update(table.backends())
        most.append(len(table.backends()))

    report = gather(
        web.urls(PAGES), on_page=note, fetch={"connections_per_host": 4}, database={"batch_rows": 100}
    )
    assert len(backends) == max(most) == 1
    assert report.slots == (1 if engine == "sequential" else 60)
    at_once = Counter(web.counts()["max_at_once"])
    assert max(at_once.values()) == (1 if engine == "sequential" else 4)


def test_little_memory_means_few_pages_at_once(
    web: LabWeb, table: Schema, gather: Gather, engine: EngineName
) -> None:
    page = GatherConfig().page_bytes
    report = gather(web.urls(20), memory_limit=4 * page + GatherConfig().waiting_bytes)
    assert report.slots == (1 if engine == "sequential" else 4)
    assert statuses(report) == ["stored"] * 20
    with pytest.raises(ConfigError, match="max_body"):
        gather(web.urls(1), memory_limit=page)


def test_pages_left_by_the_deadline_are_pending_then_stored(
    web: LabWeb, table: Schema, gather: Gather, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The next gathering stores them. The clock advances a second for each page whose rows were made."""
    now = itertools.count()
    passed = 0
    clock = SimpleNamespace(monotonic=lambda: passed)
    monkeypatch.setattr(session, "time", clock)

    def rows(page: Page) -> list[dict[str, Any]]:
        nonlocal passed
        passed = next(now)
        return rows_in(page)

    urls = web.urls(PAGES)
    report = gather(urls, rows, deadline=40, max_concurrency=2)  # 4 s of it are reserved for writing
    left = [page.url for page in report.pending]
    assert 0 < len(left) < PAGES
    assert Counter(statuses(report)) == {"pending": len(left), "stored": PAGES - len(left)}
    assert len(table.rows()) == 10 * (PAGES - len(left))
    passed = 0
    gather(left).raise_for_failures()
    assert table.rows() == expected(range(PAGES))


@pytest.mark.parametrize(
    ("wrong", "error"),
    [
        ({"table": Table(name="absent", key=("id",))}, TableNotFound),
        ({"database": {"user": "stranger"}}, AccessDenied),
        ({"fetch": {"allowed_networks": ("here",)}}, ConfigError),
    ],
    ids=["table", "user", "setting"],
)
def test_an_absent_table_or_wrong_user_fails_before_any_fetch(
    web: LabWeb, table: Schema, gather: Gather, wrong: dict[str, Any], error: type[BaseException]
) -> None:
    """A wrong setting fails as early."""
    with pytest.raises(error):
        gather(web.urls(PAGES), **wrong)
    assert web.counts()["requests"] == {}


@pytest.mark.parametrize(
    ("urls", "told"), [([], "no URLs"), ("http://a/", "one string"), ([1], "is not a string")]
)
def test_a_list_that_is_none_is_told(table: Schema, gather: Gather, urls: Any, told: str) -> None:
    with pytest.raises(InputError, match=told):
        gather(urls)


async def awaited(page: Page) -> list[dict[str, Any]]:
    return []


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        ({"rows": awaited}, "is asynchronous: give a plain function"),
        ({"rows": lambda: ()}, "cannot be called with a page alone"),
        ({"rows": "prices"}, "'prices' is a str: name a function"),
        ({"table": "prices"}, r"table='prices' is a str: write Table\("),
    ],
    ids=["async", "no page", "no function", "no table"],
)
def test_a_bad_rows_function_or_table_fails_before_any_request(
    gather: Gather, wrong: dict[str, Any], told: str
) -> None:
    with pytest.raises(ConfigError, match=told):
        gather(["http://a.test/"], **wrong)


def test_a_postgres_restart_loses_and_doubles_no_rows(web: LabWeb, table: Schema, gather: Gather) -> None:
    written = threading.Event()

    def restart() -> None:
        assert written.wait(GUARD_SECONDS)
        table.server.crash()
        table.server.server.start()

    with meanwhile(restart):
        report = gather(web.urls(PAGES), on_page=lambda _: written.set(), database={"batch_rows": 50})
    report.raise_for_failures()
    assert table.rows() == expected(range(PAGES))


def test_interrupting_a_gathering_waits_for_no_page(web: LabWeb, table: Schema, gather: Gather) -> None:
    class Enough(BaseException):
        pass

    def stop(_: object) -> None:
        raise Enough

    with pytest.raises(Enough):
        gather(web.urls(PAGES), on_page=stop, database={"batch_rows": 50})
    asked = web.counts()["requests"]
    assert table.rows() == expected(row[0] // 10 for row in table.rows()[::10])
    until(lambda: web.counts()["requests"] == asked)


def test_a_session_at_work_refuses_a_second_gathering(web: LabWeb, table: Schema, gather: Gather) -> None:
    refused = []

    def gather_more(_: object) -> None:
        with pytest.raises(ConfigError, match="session is busy") as caught:
            gather(web.urls(1))
        refused.append(caught.value)

    assert statuses(gather(web.urls(2), on_page=gather_more)) == ["stored"] * 2
    assert len(refused) == 2


@pytest.mark.asyncio
async def test_on_a_running_loop_it_is_awaited(web: LabWeb, table: Schema) -> None:
    report = await gather_pages_async(web.urls(5), rows_in, TABLE, config=config(table))
    assert statuses(report) == ["stored"] * 5


def test_nothing_is_left_open_by_a_call_of_its_own(web: LabWeb, table: Schema, engine: EngineName) -> None:
    report = gather_pages(web.urls(5), rows_in, TABLE, engine=engine, config=config(table))
    assert statuses(report) == ["stored"] * 5
    with contextlib.suppress(TimeoutError):
        until(lambda: not table.backends())
    assert table.execute(
        "SELECT count(*) FROM pg_stat_activity WHERE application_name = %s", APPLICATION
    ) == [(0,)]
