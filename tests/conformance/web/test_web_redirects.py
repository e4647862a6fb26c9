"""Redirects: followed to pages only, and only a limited number."""

import pytest
import trustme

from asyncstream.errors import (
    RedirectRefused,
)
from asyncstream.lab.web import Answer
from tests.conformance.fixture_types import Fetch, Serve

from .web_origins import served_by


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_redirects_are_followed_within_and_across_hosts(fetch: Fetch, serve: Serve, status: int) -> None:
    other = serve(page=Answer.of(b"here"))
    origin = serve(
        {
            "/a/old": Answer.of(b"", status, Location="newer?x=1"),
            "/a/newer": Answer(status, {"Location": f"{other.urls[0]}/page"}, (b"z" * 100_000,)),
        }
    )
    page = fetch(f"{origin.urls[0]}/a/old")
    assert (page.body, page.url, page.redirects) == (b"here", f"{other.urls[0]}/page", 2)


def test_max_redirects_are_followed_and_not_one_more(fetch: Fetch, serve: Serve) -> None:
    origin = serve(
        {f"/{number}": Answer.of(b"", 302, Location=f"/{number - 1}") for number in range(1, 5)}
        | {"/0": Answer.of(b"end")}
    )
    assert fetch(f"{origin.urls[0]}/3", config={"max_redirects": 3}).body == b"end"
    origin.reset()
    with pytest.raises(RedirectRefused, match="more than 3 times"):
        fetch(f"{origin.urls[0]}/4", config={"max_redirects": 3})
    assert origin.counts()["requests"] == {"127.0.0.1": 4}


@pytest.mark.parametrize(
    "location",
    [
        "file:///etc/passwd",
        "ftp://127.0.0.1/x",
        "gopher://127.0.0.1/",
        "javascript:alert(1)",
        "https://:80/",
        "http://[::1",
    ],
)
def test_a_redirect_to_anything_but_a_page_is_refused(fetch: Fetch, serve: Serve, location: str) -> None:
    """There is no retry."""
    origin = serve(page=Answer.of(b"", 302, Location=location))
    with pytest.raises(RedirectRefused, match="does not redirect to a page"):
        fetch(f"{origin.urls[0]}/page")
    assert origin.counts()["requests"] == {"127.0.0.1": 1}


def test_a_redirect_with_credentials_is_refused_unquoted(fetch: Fetch, serve: Serve) -> None:
    """The error does not contain the credentials."""
    origin = serve(page=Answer.of(b"", 302, Location="http://me:hidden@127.0.0.1/?key=hidden"))
    with pytest.raises(RedirectRefused) as caught:
        fetch(f"{origin.urls[0]}/page")
    assert "hidden" not in str(caught.value)
    assert "hidden" not in str(caught.value.__cause__)


def test_a_redirect_out_of_tls_is_refused(fetch: Fetch, serve: Serve, authority: trustme.CA) -> None:
    plain = serve(page=Answer.of(b""))
    origin = serve(
        page=Answer.of(b"", 302, Location=f"{plain.urls[0]}/page"), tls=served_by(authority, "127.0.0.1")
    )
    with pytest.raises(RedirectRefused, match="without TLS"):
        fetch(f"{origin.urls[0]}/page")
    assert plain.counts()["connections"] == {}
