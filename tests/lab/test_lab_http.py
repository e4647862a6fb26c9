from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asyncstream.lab.s3.http import ChunkedDecoder, MalformedRequestError, Request, parse_request, reply_head


def head(text: str) -> Request:
    return parse_request(text.replace("\n", "\r\n").encode("latin-1"))


def test_a_path_is_kept_as_it_was_sent() -> None:
    assert head("GET //b/..//%2e%20+?x=1 HTTP/1.1\nHost: h\n\n").path == "//b/..//%2e%20+"


def test_query_parameters_are_decoded_and_may_be_empty() -> None:
    assert head("GET /b?uploads&prefix=a%2Fb%20c HTTP/1.1\n\n").query == {"uploads": "", "prefix": "a/b c"}


def test_header_names_are_lower_case_and_repeats_are_joined() -> None:
    assert head("GET / HTTP/1.1\nX-A:  1 \nx-a: 2\n\n").headers == {"x-a": "1,2"}


@pytest.mark.parametrize(
    ("request_head", "keep_alive"),
    [
        ("GET / HTTP/1.1\n\n", True),
        ("GET / HTTP/1.1\nConnection: Close\n\n", False),
        ("GET / HTTP/1.0\n\n", False),
        ("GET / HTTP/1.0\nConnection: keep-alive\n\n", True),
    ],
)
def test_a_connection_stays_as_its_client_wishes(request_head: str, keep_alive: bool) -> None:
    assert head(request_head).keep_alive is keep_alive


@pytest.mark.parametrize(
    "request_head",
    [
        "GET /\n\n",
        "GET / HTTP/2\n\n",
        "GET http://a/b HTTP/1.1\n\n",
        "nonsense\n\n",
        "GET / HTTP/1.1\nno colon\n\n",
        "GET / HTTP/1.1\nname : 1\n\n",
    ],
)
def test_what_is_not_http_is_refused(request_head: str) -> None:
    with pytest.raises(MalformedRequestError):
        head(request_head)


@pytest.mark.parametrize(
    ("header", "length"), [("Content-Length: 12", 12), ("X: 1", 0), ("Transfer-Encoding: chunked", None)]
)
def test_a_body_is_framed_by_its_length_or_by_chunks(header: str, length: int | None) -> None:
    assert head(f"PUT /b/k HTTP/1.1\n{header}\n\n").body_length == length


@pytest.mark.parametrize("header", ["Content-Length: -1", "Content-Length: 1,1", "Transfer-Encoding: gzip"])
def test_unusable_framing_is_refused(header: str) -> None:
    with pytest.raises(MalformedRequestError):
        _ = head(f"PUT /b/k HTTP/1.1\n{header}\n\n").body_length


def test_a_reply_head_ends_with_an_empty_line() -> None:
    assert reply_head(404, {"A": "b"}) == b"HTTP/1.1 404 Not Found\r\nA: b\r\n\r\n"


def chunked(payload: bytes, sizes: list[int], extension: str = "", trailer: str = "") -> bytes:
    encoded, start = b"", 0
    for size in sizes:
        if piece := payload[start : start + size]:
            encoded += f"{len(piece):x}{extension}\r\n".encode() + piece + b"\r\n"
            start += size
    if rest := payload[start:]:
        encoded += f"{len(rest):X}{extension}\r\n".encode() + rest + b"\r\n"
    return encoded + f"0{extension}\r\n{trailer}\r\n".encode()


def decode(decoder: ChunkedDecoder, encoded: bytes, cuts: list[int]) -> bytes:
    bounds = [0, *sorted(cut % (len(encoded) + 1) for cut in cuts), len(encoded)]
    payload = b""
    for start, stop in pairwise(bounds):
        payload += b"".join(bytes(piece) for piece in decoder.feed(memoryview(encoded)[start:stop]))
    return payload


sizes = st.lists(st.integers(1, 40), max_size=10)


@given(st.binary(max_size=200), sizes, st.lists(st.integers(0, 10_000), max_size=10))
def test_chunks_are_decoded_however_the_network_cuts_them(
    payload: bytes, chunk_sizes: list[int], cuts: list[int]
) -> None:
    decoder = ChunkedDecoder()
    encoded = chunked(payload, chunk_sizes, ";chunk-signature=abc", "x-amz-checksum-crc32: AAAA\r\n")
    assert decode(decoder, encoded, cuts) == payload
    assert decoder.finished
    assert decoder.trailers == {"x-amz-checksum-crc32": "AAAA"}


@given(st.binary(max_size=100), sizes, sizes, st.lists(st.integers(0, 10_000), max_size=5))
def test_chunks_within_chunks_come_apart(
    payload: bytes, inner_sizes: list[int], outer_sizes: list[int], cuts: list[int]
) -> None:
    inner = chunked(payload, inner_sizes)
    assert decode(ChunkedDecoder(), chunked(inner, outer_sizes), cuts) == inner
    assert decode(ChunkedDecoder(), inner, cuts) == payload


@pytest.mark.parametrize(
    "encoded", [b"x\r\n", b"-1\r\n", b"2\r\nabc\r\n", b"0\r\n\r\nmore", b"0" * 9000, b"\r\n"]
)
def test_broken_chunks_are_refused(encoded: bytes) -> None:
    with pytest.raises(MalformedRequestError):
        decode(ChunkedDecoder(), encoded, [])


def test_a_body_without_its_last_chunk_is_not_finished() -> None:
    decoder = ChunkedDecoder()
    assert decode(decoder, b"3\r\nabc\r\n", []) == b"abc"
    assert not decoder.finished
