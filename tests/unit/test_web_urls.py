"""URLs of pages: their normal form, refused URLs, and the order in which hosts take turns."""

from collections import Counter
from urllib.parse import urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asyncstream.errors import InputError
from asyncstream.locations.urls import interleaved, joined, parse_url, shown


@pytest.mark.parametrize(
    ("text", "read"),
    [
        ("http://example.com", "http://example.com/"),
        ("  HTTPS://Example.COM:443/A?b=C#d \n", "https://example.com/A?b=C"),
        ("http://example.com:80/", "http://example.com/"),
        ("http://example.com:8080/x", "http://example.com:8080/x"),
        ("https://example.com:80/", "https://example.com:80/"),
        ("http://example.com./", "http://example.com/"),
        ("http://a_b.example.com/", "http://a_b.example.com/"),
        ("http://example.com?x", "http://example.com/?x"),
        ("http://example.com/a b/é?ü=ö ", "http://example.com/a%20b/%C3%A9?%C3%BC=%C3%B6"),
        ("http://example.com/%2e%2E/%41?%zz", "http://example.com/%2E%2E/%41?%25zz"),
        ("http://example.com/[x]?a[]=%2f", "http://example.com/%5Bx%5D?a%5B%5D=%2F"),
        ('http://example.com/"<>`{}|^', "http://example.com/%22%3C%3E%60%7B%7D%7C%5E"),
        ("http://bücher.example/", "http://xn--bcher-kva.example/"),
        ("http://faß.de/", "http://xn--fa-hia.de/"),
        ("http://例え.テスト/", "http://xn--r8jz45g.xn--zckzah/"),
        ("http://xn--bcher-kva.example/", "http://xn--bcher-kva.example/"),
        ("http://8.8.8.8/", "http://8.8.8.8/"),
        ("http://①②⑦.⓪.⓪.①/", "http://127.0.0.1/"),
        ("http://[2606:4700:0:0::1111]:81/", "http://[2606:4700::1111]:81/"),
        ("http://[::FFFF:1.2.3.4]/", "http://[::ffff:102:304]/"),
    ],
)
def test_a_url_is_read_in_its_one_normal_form(text: str, read: str) -> None:
    assert parse_url(text).text.replace("::ffff:1.2.3.4", "::ffff:102:304") == read


@pytest.mark.parametrize(
    ("text", "expected_message"),
    [
        ("http://host/p?user=a@b", "http://host/p"),
        ("http://host/p#a@b", "http://host/p"),
        ("http://me:hidden@host/p?key=hidden", "http://host/p"),
        ("http://me:hid?den@host/p", "http://host/p"),
        ("http://me:hid/den@host/p", "http://host/p"),
        ("me:hidden@host/p", "host/p"),
        ("http://[hidden@host/", "http://host/"),
    ],
)
def test_logs_show_a_url_without_credentials_and_query(text: str, expected_message: str) -> None:
    assert shown(text) == expected_message


@pytest.mark.parametrize(
    ("text", "expected_message"),
    [
        ("", "not the URL of a page"),
        ("example.com", "not the URL"),
        ("//example.com/", "not the URL"),
        ("ftp://example.com/", "not the URL"),
        ("file:///etc/passwd", "not the URL"),
        ("javascript:alert(1)", "not the URL"),
        ("http://", "not the URL"),
        ("http:///path", "not the URL"),
        ("http:example.com", "not the URL"),
        ("http://example.com:99999/", "not a URL"),
        ("http://example.com:x/", "not a URL"),
        ("http://example.com:0/", "port 0"),
        ("http://[::1/", "not a URL"),
        ("http://example.com/\ud800", "not a URL"),
        ("http://example\ud800.com/", "not a URL"),
        ("http://[nothing]/", "not a URL|no valid host"),
        ("http://[fe80::1%25eth0]/", "not a URL|no valid host"),
        ("http://me@example.com/", "credentials"),
        ("http://me:word@example.com/", "credentials"),
        ("http://@example.com/", "credentials"),
        ("http://example.com\\@evil.example/", "backslash"),
        ("http://example.com/\r\nHost: x", "control character"),
        ("http://exa\tmple.com/", "control character"),
        ("http://example.com/\x00", "control character"),
        ("http://exa mple.com/", "no valid host"),
        ("http://-example.com/", "no valid host"),
        ("http://example..com/", "no valid host"),
        ("http://.example.com/", "no valid host"),
        ("http://example.com../", "no valid host"),
        (f"http://{'a' * 64}.com/", "no valid host"),
        (f"http://{'a.' * 130}com/", "no valid host"),
        ("http://%31%32%37.0.0.1/", "no valid host"),
        ("http://a%00b/", "no valid host"),
        ("http://2130706433/", "no valid host"),
        ("http://0x7f000001/", "no valid host"),
        ("http://0x7f.1/", "no valid host"),
        ("http://0177.0.0.1/", "no valid host"),
        ("http://127.1/", "no valid host"),
        ("http://1.2.3.4.5/", "no valid host"),
        ("http://256.1.1.1/", "no valid host"),
        ("http://example.0x/", "no valid host"),
        ("http://\u200d/", "no valid host"),
        (f"http://example.com/{'a' * 8000}", "too long"),
    ],
)
def test_what_is_no_url_of_a_page_is_refused_with_a_reason(text: str, expected_message: str) -> None:
    with pytest.raises(InputError, match=expected_message):
        parse_url(text)


@pytest.mark.parametrize("text", [None, b"http://example.com/", 7, ["http://example.com/"]])
def test_only_strings_are_read(text: object) -> None:
    with pytest.raises(InputError, match="must be a string"):
        parse_url(text)  # type: ignore[arg-type]


SECRET = "S3CRET"


@pytest.mark.parametrize(
    "text",
    [f"http://me:{SECRET}@example.com/", f"http://{SECRET}@example.com/", f"ftp://me:{SECRET}@example.com/",
     f"me:{SECRET}@example.com", f"http://me:{SECRET}@example.com:x/", f"http://me:{SECRET}@[::1/",
     f"ftp://example.com/?key={SECRET}", f"ftp://example.com/#{SECRET}", f"http://me:{SECRET}@exa\tmple.com/",
     f"http://example.com:{SECRET}x@h/", f"http://example.com/{'a' * 8000}?{SECRET}",
     f"//{SECRET}@example.com"],
)  # fmt: skip
def test_errors_do_not_repeat_credentials_or_queries(text: str) -> None:
    with pytest.raises(InputError) as caught:
        parse_url(text)
    error: BaseException | None = caught.value
    while error is not None:
        assert SECRET not in str(error)
        error = error.__cause__


def test_a_url_is_shown_without_its_query() -> None:
    assert str(parse_url("https://example.com/path?key=S3CRET#x")) == "https://example.com/path?..."
    assert str(parse_url("https://example.com/path")) == "https://example.com/path"


@given(st.text())
def test_any_text_is_a_url_or_an_input_error(text: str) -> None:
    try:
        parse_url(text)
    except InputError:
        return


texts = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\\#"), max_size=30)


@given(texts, texts)
def test_a_normal_form_is_ascii_and_its_own_normal_form(path: str, query: str) -> None:
    """It has no spaces."""
    try:
        url = parse_url(f"http://example.com/{path}?{query}")
    except InputError:
        return  # a control character
    assert url.text.isascii()
    assert not any(character <= " " for character in url.text)
    assert parse_url(url.text) == url
    assert urlsplit(url.text).hostname == "example.com"


@pytest.mark.parametrize(
    ("location", "read"),
    [
        ("/x?y", "http://example.com/x?y"),
        ("x", "http://example.com/a/x"),
        ("../x", "http://example.com/x"),
        ("?q", "http://example.com/a/b?q"),
        ("//other.example/x", "http://other.example/x"),
        ("https://other.example", "https://other.example/"),
        (" /x y ", "http://example.com/x%20y"),
        ("", "http://example.com/a/b?c"),
    ],
)
def test_a_redirect_is_read_from_where_it_was_found(location: str, read: str) -> None:
    assert joined(parse_url("http://example.com/a/b?c"), location).text == read


@pytest.mark.parametrize("location", ["http://[::1", f"http://me:{SECRET}@a\u2100b/", "//[x", "/\udfff"])
def test_a_redirect_to_what_is_no_url_is_an_input_error(location: str) -> None:
    with pytest.raises(InputError, match="not a URL") as caught:
        joined(parse_url("http://example.com/a/b?c"), location)
    assert SECRET not in str(caught.value)
    assert SECRET not in str(caught.value.__cause__)


hosts = st.sampled_from(["a.example", "b.example", "c.example"])
lists = st.lists(st.builds("http://{}/{}".format, hosts, st.integers(0, 50)), max_size=60)


@given(lists)
def test_hosts_take_turns_and_each_ones_urls_keep_their_order(urls: list[str]) -> None:
    order = interleaved(urls)
    by_host = {host: [url for url in urls if f"//{host}/" in url] for host in map(_host, urls)}
    assert Counter(order) == Counter(urls)
    for host, own in by_host.items():
        assert [url for url in order if _host(url) == host] == own
    # At every point, no host is two turns ahead of another that still waits.
    had: Counter[str] = Counter()
    for url in order:
        had[_host(url)] += 1
        waiting = [had[host] for host, own in by_host.items() if had[host] < len(own)]
        assert not waiting or max(had.values()) - min(waiting) <= 1


def test_what_is_no_url_keeps_a_place_in_the_order() -> None:
    assert interleaved(["http://a/1", "http://a/2", "nothing", "http://b/1"]) == [
        "http://a/1", "nothing", "http://b/1", "http://a/2"
    ]  # fmt: skip


def _host(url: str) -> str:
    return urlsplit(url).hostname or ""
