"""Direct events and their replies: reading, checking, writing, and the JSON schema."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jsonschema
import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import asyncstream.gathering
from asyncstream.errors import ConfigError, GatheringFailed, InputError, PageNotFound
from asyncstream.events.handler_replies import Invoked
from asyncstream.gathering import events, gather_reply
from asyncstream.gathering.config import GatherConfig
from asyncstream.gathering.events import Deployed
from asyncstream.gathering.postgres.statements import Table
from asyncstream.gathering.results import GatherReport, PageResult
from asyncstream.locations import S3Object
from asyncstream.web import FetchConfig

COMMITTED = Path(asyncstream.gathering.__file__).with_name("schema.json")
LARGEST_REPLY = 256 * 1024
INVOKED = Invoked("8476a536-e9f4-11e8-9739-2dfe598c3fcd", 0.25)
LIST = S3Object("raw", "list.txt")

PAGES = {"urls": ["https://a.example/1"]}
GOOD = [
    {},
    PAGES,
    {"urls_from": "s3://raw/list.txt", "rows": "mine:rows", "must_succeed": True},
    PAGES | {"table": {"name": "t", "key": ["a", "b"], "schema": "s", "columns": ["a", "b", "c"]}},
    PAGES | {"config": {"deadline": None, "memory_limit": 1000, "max_concurrency": 1000}},
    PAGES | {"config": {"fetch": {"max_body": 1, "max_redirects": 0, "user_agent": "me", "page_timeout": 5}}},
]
# Events that the schema and the handler refuse, and where each is wrong.
MALFORMED: list[tuple[Any, str]] = [
    (None, "$"),
    ([], "$"),
    (PAGES | {"dry_run": True}, "$"),
    ({"urls": "https://a.example/1"}, "$.urls"),
    ({"urls": []}, "$.urls"),
    ({"urls_from": "list.txt"}, "$.urls_from"),
    (PAGES | {"rows": 5}, "$.rows"),
    (PAGES | {"table": "t"}, "$.table"),
    (PAGES | {"table": {"name": "t"}}, "$.table"),
    (PAGES | {"table": {"name": "t", "key": []}}, "$.table.key"),
    (PAGES | {"table": {"name": "", "key": ["a"]}}, "$.table.name"),
    (PAGES | {"table": {"name": "t", "key": ["a"], "where": "b"}}, "$.table"),
    (PAGES | {"config": {"max_concurrency": 0}}, "$.config.max_concurrency"),
    (PAGES | {"config": {"at_deadline": "fail"}}, "$.config"),
    (PAGES | {"config": {"database": {"dsn": "postgresql://elsewhere"}}}, "$.config"),
    (PAGES | {"config": {"fetch": {"max_body": 0}}}, "$.config.fetch.max_body"),
    (PAGES | {"config": {"fetch": {"allowed_networks": []}}}, "$.config.fetch"),
    (PAGES | {"must_succeed": "yes"}, "$.must_succeed"),
]


def check(event: Any) -> events.GatherEvent:
    """Check an event as the handler does before any I/O."""
    asked = events.read_event(event)
    table = Table(name="t", key=("id",))
    events.plan_gathering(
        asked, Deployed(("https://b.example/",), "mine:rows", table, frozenset({"mine:rows"}))
    )
    return asked


def validator(definition: str) -> jsonschema.Draft202012Validator:
    return jsonschema.Draft202012Validator(gather_reply.schema() | {"$ref": f"#/$defs/{definition}"})


def test_the_schema_is_the_committed_one_and_one() -> None:
    assert json.loads(COMMITTED.read_text()) == gather_reply.schema(), "run `make schema`"
    jsonschema.Draft202012Validator.check_schema(gather_reply.schema())


class TestEvent:
    @pytest.mark.parametrize("event", GOOD)
    def test_a_good_one_is_read_and_valid_by_the_schema(self, event: Any) -> None:
        validator("GatherEvent").validate(event)
        check(event)

    @pytest.mark.parametrize(("event", "path"), MALFORMED)
    def test_a_malformed_event_is_refused_by_schema_and_check(self, event: Any, path: str) -> None:
        """The error names the path."""
        assert not validator("GatherEvent").is_valid(event)
        with pytest.raises(InputError) as raised:
            check(event)
        assert str(raised.value).startswith(f"the event is malformed at {path}: ")

    def test_what_it_says_wins_over_what_is_deployed(self) -> None:
        deployed = Deployed(LIST, "its:rows", Table(name="t", key=("id",)), frozenset({"its:rows"}))
        event = PAGES | {"rows": "its:rows", "table": {"name": "u", "key": ["sku"]}}

        assert events.plan_gathering(events.read_event({}), deployed) == events.GatherPlan(
            LIST, "its:rows", Table(name="t", key=("id",))
        )
        wanted = events.plan_gathering(events.read_event(event), deployed)
        assert (wanted.urls, wanted.rows) == (("https://a.example/1",), "its:rows")
        assert (wanted.table.name, wanted.table.key) == ("u", ("sku",))

    @pytest.mark.parametrize("named", ["os:system", "sys:exit", "code:interact", "its:rows.other", "its"])
    @pytest.mark.parametrize("listed", [{}, {"GATHER_ROWS": "its:rows"}, {"GATHER_EVENT_ROWS": "its:rows"}])
    def test_it_names_no_function_of_rows_that_is_not_listed(
        self, named: str, listed: dict[str, str]
    ) -> None:
        event = events.read_event(PAGES | {"rows": named, "table": {"name": "u", "key": ["sku"]}})

        with pytest.raises(InputError, match=f"may not name '{named}' as `rows`: .*GATHER_EVENT_ROWS"):
            events.plan_gathering(event, Deployed.from_env(listed))

    @pytest.mark.parametrize("named", ["its:rows", "its:more", "its:own"])
    def test_it_names_a_function_of_rows_that_is_listed(self, named: str) -> None:
        event = events.read_event(PAGES | {"rows": named, "table": {"name": "u", "key": ["sku"]}})
        listed = {"GATHER_ROWS": "its:own", "GATHER_EVENT_ROWS": "its:rows,its:more"}

        assert events.plan_gathering(event, Deployed.from_env(listed)).rows == named

    def test_the_functions_own_needs_no_list(self) -> None:
        deployed = Deployed.from_env({"GATHER_ROWS": "its:own", "GATHER_TABLE": "t", "GATHER_KEY": "id"})

        assert events.plan_gathering(events.read_event(PAGES), deployed).rows == "its:own"

    def test_its_settings_override_those_it_names_and_no_other(self) -> None:
        own = GatherConfig(
            max_concurrency=7, deadline=9.0, fetch=FetchConfig(max_body=5, allowed_networks=("10.0.0.0/8",))
        )
        event = PAGES | {"config": {"deadline": None, "fetch": {"max_redirects": 0}}}

        assert events.merge_config(own, events.read_event(PAGES)) == own
        assert events.merge_config(own, events.read_event(event)) == GatherConfig(
            max_concurrency=7,
            fetch=FetchConfig(max_body=5, max_redirects=0, allowed_networks=("10.0.0.0/8",)),
        )


class TestDeployed:
    @pytest.mark.parametrize(
        ("environ", "deployed"),
        [
            ({}, Deployed()),
            (dict.fromkeys([events.URLS, events.ROWS, events.TABLE, events.KEY], ""), Deployed()),
            (
                {"GATHER_ROWS": "its:own", "GATHER_EVENT_ROWS": "its:rows"},
                Deployed(rows="its:own", event_rows=frozenset({"its:own", "its:rows"})),
            ),
            ({"GATHER_URLS": " https://a/ \n https://b/"}, Deployed(("https://a/", "https://b/"))),
            ({"GATHER_URLS": "s3://raw/list.txt"}, Deployed(LIST)),
            ({"GATHER_URLS": "s3://raw/a list"}, Deployed(S3Object("raw", "a list"))),
            (
                {"GATHER_TABLE": "prices", "GATHER_KEY": "sku, day"},
                Deployed(table=Table(name="prices", key=("sku", "day"))),
            ),
            (
                {"GATHER_TABLE": "prices", "GATHER_KEY": "sku", "GATHER_COLUMNS": "price, note"},
                Deployed(table=Table(name="prices", key=("sku",), columns=("price", "note"))),
            ),
            (
                {"GATHER_TABLE": "shop.prices", "GATHER_KEY": "sku"},
                Deployed(table=Table(name="prices", schema="shop", key=("sku",))),
            ),
        ],
    )
    def test_it_is_read_from_the_environment(self, environ: dict[str, str], deployed: Deployed) -> None:
        assert Deployed.from_env(environ) == deployed

    @pytest.mark.parametrize(
        ("environ", "expected_message"),
        [
            ({"GATHER_URLS": "https://a/ s3://raw/list"}, "GATHER_URLS='https://a/ s3://raw/list': "),
            ({"GATHER_TABLE": "t"}, "GATHER_TABLE and GATHER_KEY go together"),
            ({"GATHER_KEY": "id"}, "GATHER_TABLE and GATHER_KEY go together"),
            ({"GATHER_COLUMNS": "id"}, "GATHER_TABLE and GATHER_KEY go together"),
            ({"GATHER_TABLE": "t", "GATHER_KEY": "id,"}, "'' is not a name in Postgres"),
            ({"GATHER_TABLE": "shop.", "GATHER_KEY": "id"}, "'' is not a name in Postgres"),
        ],
    )
    def test_what_cannot_be_read_is_reported(self, environ: dict[str, str], expected_message: str) -> None:
        with pytest.raises(ConfigError) as raised:
            Deployed.from_env(environ)
        assert expected_message in str(raised.value)


TEXTS = st.text(
    st.characters(codec="utf-8", exclude_characters="#", exclude_categories=["Cc", "Z"]), min_size=1
)


@given(st.lists(TEXTS, min_size=1), st.sampled_from(["\n", "\r\n", "\n\n  ", "\n# more\n"]))
def test_a_list_gives_its_lines_without_blanks_and_comments(urls: list[str], between: str) -> None:
    assert events.parse_url_list(between.join(urls).encode(), LIST) == tuple(urls)


def report(pages: Sequence[PageResult]) -> GatherReport:
    return GatherReport("threads", pages, 1.23456, 4, 64_000_000, 2)


def stored(url: str = "https://a/") -> PageResult:
    return PageResult(url, "stored", 3, 1, 1, attempts=1, seconds=0.5)


def failed(url: str = "https://a/?key=k1", message: str = "no such page") -> PageResult:
    return PageResult(url, "failed", attempts=1, seconds=0.12345, error=PageNotFound(message, 404))


def pending(url: str = "https://a/") -> PageResult:
    return PageResult(url, "pending")


class TestReply:
    @pytest.mark.parametrize(
        ("pages", "status"),
        [
            ([stored(), PageResult("https://b/", "unchanged", 0, 4)], "stored"),
            ([stored(), failed()], "partial"),
            ([failed(), failed("https://b/")], "failed"),
            ([stored(), failed(), pending()], "pending"),
        ],
    )
    def test_it_has_status_and_totals(self, pages: list[PageResult], status: str) -> None:
        reply = json.loads(json.dumps(msgspec.to_builtins(gather_reply.reply_to(report(pages), INVOKED))))

        validator("GatherReply").validate(reply)
        assert (reply["status"], reply["request_id"]) == (status, INVOKED.request_id)
        totals = reply["totals"]
        assert (totals["seconds"], totals["cpu_seconds"], totals["batches"]) == (1.235, 0.25, 2)
        assert totals["rows"] == 3 * totals["stored"]
        ends = ("stored", "unchanged", "failed", "pending")
        assert {name: totals[name] for name in ends} == {
            name: sum(page.status == name for page in pages) for name in ends
        }

    def test_a_url_that_is_pending_twice_is_to_be_named_once(self) -> None:
        assert gather_reply.reply_to(report([pending(), pending()]), INVOKED).pending == ["https://a/"]

    @settings(max_examples=15)
    @given(
        character=st.sampled_from('aé😀\x01"'),
        length=st.integers(1, 2000),
        failures=st.integers(0, 1500),
        left=st.integers(0, 1500),
    )
    def test_it_stays_under_256_kb_and_counts_what_it_leaves_out(
        self, character: str, length: int, failures: int, left: int
    ) -> None:
        text = character * length
        pages = [failed(f"https://{number}/{text}", text) for number in range(failures)]
        pages += [pending(f"https://{number}/{text}") for number in range(left)]
        reply = gather_reply.reply_to(report(pages), INVOKED)

        assert len(json.dumps(msgspec.to_builtins(reply))) < LARGEST_REPLY
        assert len(reply.failures) + reply.failures_omitted == failures
        assert len(reply.pending) + reply.pending_omitted == left


class TestUnread:
    def test_nothing_is_raised_where_all_is_stored(self) -> None:
        gather_reply.raise_unstored(report([stored(), PageResult("https://b/", "unchanged")]))

    def test_some_pages_are_named_and_the_others_counted(self) -> None:
        """The URLs are shown without credentials and queries."""
        pages = [failed(f"https://me:secret@a/{number}?key=k1") for number in range(1023)]
        with pytest.raises(GatheringFailed) as raised:
            gather_reply.raise_unstored(report([*pages, pending(), stored()]))

        failure = str(raised.value)
        assert failure.startswith("1,023 of 1,025 pages failed, 1 did not finish in time; https://a/0: PageN")
        assert failure.endswith("https://a/19: PageNotFound: no such page; and 1,003 more")
        assert "k1" not in failure
        assert "secret" not in failure
