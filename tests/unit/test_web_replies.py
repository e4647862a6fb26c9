"""Pages and the meaning of replies: cases that the tests of fetching do not cover."""

from email.utils import formatdate

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asyncstream.errors import ConfigError
from asyncstream.locations.urls import Url, parse_url
from asyncstream.web import FetchConfig
from asyncstream.web.hosts import Hosts
from asyncstream.web.page_replies import retry_after
from asyncstream.web.pages import Page, parse_charset

NOW = 1_700_000_000.0


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("120", 120), (" 5 ", 5), ("0", 0), ("", 0), ("soon", 0), ("-5", 0), ("1.5", 0), ("٣", 0),
     ("9" * 400, 999_999_999), (formatdate(NOW + 90, usegmt=True), 90),
     (formatdate(NOW - 90, usegmt=True), 0),
     ("Fri, 31 Dec 9999 23:59:59 GMT", 251_702_300_799), ("Fri, 99 Dec 2023 10:00:00 GMT", 0)],
)  # fmt: skip
def test_the_time_to_come_back_is_read_as_seconds_or_date(text: str, seconds: float) -> None:
    assert retry_after({"retry-after": text}, NOW) == seconds


@given(st.text())
def test_no_time_to_come_back_breaks_the_reader(text: str) -> None:
    assert retry_after({"retry-after": text}, NOW) >= 0


@pytest.mark.parametrize(
    ("content_type", "charset"),
    [("text/html; charset=ISO-8859-1", "iso8859-1"), ('text/html; charset="windows-1252"; x=y', "cp1252"),
     ("text/html", "utf-8"), ("", "utf-8"), ("text/html; charset=nothing", "utf-8"),
     ("text/html; charset=zlib", "utf-8"), ("text/html; charset=rot13", "utf-8"),
     ("text/html; charset=punycode", "utf-8"), ("text/html; charset=unicode_escape", "utf-8"),
     ("text/html; charset=idna", "utf-8"), ("text/html; charset=undefined", "utf-8"),
     ("text/html; charset=utf-7", "utf-8"), ("text/html; charset=a\x00b", "utf-8"),
     ("text/html; charset*=utf-8''latin-1", "utf-8"), ("text/html; charset=Shift_JIS", "shift_jis")],
)  # fmt: skip
def test_a_heads_charset_is_used_if_pages_are_written_in_it(content_type: str, charset: str) -> None:
    assert parse_charset(content_type) == charset


@given(st.text(), st.binary(max_size=100))
def test_every_body_has_a_text(content_type: str, body: bytes) -> None:
    assert isinstance(Page("", "", 200, {"content-type": content_type}, body, 1, 0).text, str)


@pytest.mark.parametrize(
    ("values", "expected_message"),
    [({"max_body": 0}, "max_body"), ({"max_redirects": -1}, "max_redirects"), ({"max_redirects": 21}, "20"),
     ({"page_timeout": float("inf")}, "1800"), ({"page_timeout": 1801}, "1800"),
     ({"stall_timeout": float("nan")}, "stall_timeout"),
     ({"connect_timeout": "5"}, "connect_timeout"), ({"connections_per_host": 0}, "connections_per_host"),
     ({"user_agent": "a\r\nX: y"}, "user_agent"), ({"user_agent": ""}, "user_agent"),
     ({"allowed_networks": ("10.0.0.1/8",)}, "10.0.0.1/8")],
)  # fmt: skip
def test_a_setting_outside_its_limits_is_named(values: dict[str, object], expected_message: str) -> None:
    with pytest.raises(ConfigError, match=expected_message):
        FetchConfig(**values)  # type: ignore[arg-type]


class Kept:
    """A host's kept connections."""

    def __init__(self, url: Url) -> None:
        self.origin = url.origin
        self.closed = False


@given(st.lists(st.tuples(st.booleans(), st.integers(0, 6)), max_size=80))
def test_a_host_in_use_is_never_closed(steps: list[tuple[bool, int]]) -> None:
    """Few unused hosts are kept."""
    hosts = Hosts(Kept, most=2)
    used: list[tuple[Url, Kept]] = []
    for takes, number in steps:
        if takes or not used:
            url = parse_url(f"http://h{number}.example/")
            kept = hosts.take(url)
            assert not kept.closed
            assert all(kept is other for mine, other in used if mine.origin == url.origin)
            used.append((url, kept))
        else:
            url, _ = used.pop(number % len(used))
            unused = hosts.give_back(url)
            if unused is not None:
                assert unused.origin not in {other.origin for other, _ in used}
                unused.closed = True
    in_use = {url.origin for url, _ in used}
    assert len(hosts.take_out()) <= len(in_use) + 2
