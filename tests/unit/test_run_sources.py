"""What a plan is made of: each file is found once, also if other processes continue at any page."""

import asyncio
import gzip
import json
from collections.abc import Iterator, Mapping
from random import Random
from typing import Any, ClassVar, cast

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from asyncstream.deadline import NO_DEADLINE
from asyncstream.engines import open_engine
from asyncstream.errors import AsyncstreamError, CorruptInput, InputError, S3Error, SourceChanged
from asyncstream.locations import S3Object, S3Prefix
from asyncstream.objects import ListedObject
from asyncstream.pipeline.config import TransferConfig
from asyncstream.pipeline.context import Ends
from asyncstream.ports import Engine
from asyncstream.retry import Retrying
from asyncstream.runs.descriptions import SourceKind
from asyncstream.runs.pages import Found, Page
from asyncstream.runs.sources import SourcePlace, chunks, row_parsers
from tests.source_builders import (
    SCHEMA,
    ListedBucket,
    found_in,
    inventory,
    inventory_csv,
    inventory_row,
    left_out_of,
    read_some,
    read_with_stops,
)

from .memory_store import MemoryStore, pause_under
from .transfers import ends_of

LIST = S3Object("lists", "list")
PREFIX = S3Prefix("raw", "in/")
NAMES = st.sampled_from(["a", "b", "c", "a0", "a!", " ", "ä", "\uffff", "😀", ""])
KEYS = st.sets(
    st.lists(NAMES, min_size=1, max_size=4).map(lambda names: "in/" + "/".join(names)).filter(len),
    max_size=60,
)
STOPS = st.lists(st.integers(1, 5), min_size=1, max_size=4)


@pytest.fixture(scope="module")
def engine() -> Iterator[Engine]:
    engine = open_engine("asyncio")
    yield engine
    engine.close()


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make pages, chunks and pieces so small that short lists have several."""
    monkeypatch.setattr(row_parsers, "PAGE_FILES", 3)
    monkeypatch.setattr(chunks, "SPLIT_AT_ONCE", 50)
    monkeypatch.setattr(chunks, "PIECE", 120)


def retrying(engine: Engine) -> Retrying:
    return Retrying(TransferConfig(retry_base_delay=0.0001).retry_policy, NO_DEADLINE, engine.sleep)


def listing(bucket: Any, engine: Engine) -> Ends:
    return Ends({S3Prefix: bucket}, {}, retrying(engine))


async def pause_for_long() -> None:
    """Let all other tasks take many steps."""
    for _ in range(50):
        await asyncio.sleep(0)


def stored(engine: Engine, objects: Mapping[str, bytes]) -> Ends:
    places = {S3Object("lists", key): content for key, content in objects.items()}
    return ends_of(MemoryStore(places, pause=pause_under("asyncio")), retrying(engine))


def read(
    engine: Engine, objects: Mapping[str, bytes], kind: SourceKind, key: str, *stops: int, **options: int
) -> list[Page]:
    ends, place = stored(engine, objects), S3Object("lists", key)
    return engine.run(lambda: read_with_stops(ends, engine, kind, place, stops or (10**6,), **options))


def refusal(engine: Engine, objects: Mapping[str, bytes], kind: SourceKind, key: str) -> str:
    with pytest.raises(AsyncstreamError) as refused:
        read(engine, objects, kind, key)
    assert isinstance(refused.value, InputError | CorruptInput)
    return str(refused.value)


class TestPrefixes:
    @settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=100)
    @given(KEYS, st.integers(1, 4), st.integers(1, 6), STOPS, st.integers(0, 2), st.booleans(), st.integers())
    def test_each_key_is_found_once_at_any_stops(
        self,
        engine: Engine,
        keys: set[str],
        length: int,
        concurrency: int,
        stops: list[int],
        overlap: int,
        ignores_after: bool,
        seed: int,
    ) -> None:
        random = Random(seed)

        async def pause() -> None:
            for _ in range(random.randrange(4)):
                await asyncio.sleep(0)

        keys = keys | {"im", "in", "io/z"}
        if ignores_after:
            stops = [1_000]  # its first pages have nothing new
        bucket = ListedBucket(keys, length, pause, min(overlap, length - 1), ignores_after=ignores_after)
        ends = listing(bucket, engine)
        pages = engine.run(
            lambda: read_with_stops(ends, engine, "prefix", PREFIX, stops, concurrency=concurrency)
        )

        inside = [key for key in keys if key.startswith("in/")]
        files = sorted(key for key in inside if not key.endswith("/"))
        assert sorted(found.key for found in found_in(pages)) == files
        assert sum(left_out_of(pages).values()) == len(inside) - len(files)
        assert bucket.peak <= concurrency

    def test_a_deep_tree_is_listed_by_all_slots(self, engine: Engine) -> None:
        """One folder at the first levels: it is cut where the tree has several."""
        keys = [f"in/one/two/{number % 20:02d}/{number:04d}" for number in range(2_000)]
        bucket = ListedBucket(keys, 50, pause_for_long)
        pages = engine.run(
            lambda: read_some(listing(bucket, engine), engine, "prefix", PREFIX, concurrency=8)
        )

        assert len(found_in(pages)) == 2_000
        assert bucket.peak == 8
        assert bucket.asked <= 3 * 40

    def test_a_position_has_less_than_20_kb(self, engine: Engine) -> None:
        folders = [f"in/{number:02d}{'f' * 500}/" for number in range(20)]
        keys = [f"{folder}{number:03d}{'k' * 500}" for folder in folders for number in range(20)]
        ends = listing(ListedBucket(keys, 5, pause_for_long), engine)
        pages = engine.run(lambda: read_some(ends, engine, "prefix", PREFIX, concurrency=50))

        assert 8 <= max(len(page.position["ranges"]) for page in pages) <= 12
        assert max(len(json.dumps(page.position)) for page in pages) < 20_000

    def test_few_keys_take_two_requests(self, engine: Engine) -> None:
        bucket = ListedBucket(["in/a", "in/b/c"], 1_000)
        pages = engine.run(lambda: read_some(listing(bucket, engine), engine, "prefix", PREFIX))

        assert found_in(pages) == [
            Found("raw", "in/a", 1, '"in/a"'),
            Found("raw", "in/b/c", 1, '"in/b/c"'),
        ]
        assert bucket.asked <= 3
        assert pages[-1].position == {"ranges": []}
        assert pages[-1].share is None

    def test_nothing_is_one_empty_page(self, engine: Engine) -> None:
        [page] = engine.run(
            lambda: read_some(listing(ListedBucket([], 5), engine), engine, "prefix", PREFIX, concurrency=1)
        )
        assert (page.found, page.left_out, page.position) == ([], {}, {"ranges": []})

    @pytest.mark.parametrize(
        ("replies", "expected_message"),
        [
            ([(["in/a", "in/b"], "1"), (["in/a", "in/b"], "2")], "its pages repeat after 'in/b'"),
            ([(["in/a"], "1"), ([], "1")], "its pages repeat"),
            ([(["in/b", "in/a"], None)], "not listed in the order of its keys: 'in/a' follows 'in/b'"),
            ([(["im/a"], None)], "has the key 'im/a'"),
        ],
    )
    def test_pages_that_a_server_must_not_send_are_refused(
        self, engine: Engine, replies: list[tuple[list[str], str | None]], expected_message: str
    ) -> None:
        with pytest.raises(S3Error) as refused:
            engine.run(
                lambda: read_some(listing(Replies(replies), engine), engine, "prefix", PREFIX, concurrency=1)
            )
        assert expected_message in str(refused.value)

    def test_a_directory_bucket_is_listed_in_any_order(self, engine: Engine) -> None:
        prefix = S3Prefix("raw--use1-az4--x-s3", "in/")
        replies = [(["in/z", "in/b"], "1"), (["in/a", "in/c/"], "2"), (["in/d"], None)]
        ends = listing(Replies([*replies]), engine)
        pages = engine.run(lambda: read_with_stops(ends, engine, "prefix", prefix, [1]))

        assert [found.key for found in found_in(pages)] == ["in/z", "in/b", "in/a", "in/d"]
        assert left_out_of(pages) == {"folder_marker": 1}

    def test_a_directory_bucket_whose_pages_repeat_is_refused(self, engine: Engine) -> None:
        prefix = S3Prefix("raw--use1-az4--x-s3", "in/")
        ends = listing(Replies([(["in/z"], "1"), (["in/z"], "2")]), engine)
        with pytest.raises(S3Error, match="its pages repeat"):
            engine.run(lambda: read_some(ends, engine, "prefix", prefix))

    @pytest.mark.parametrize(
        "position", [{"ranges": [["a"]]}, {"file": 3}, {"ranges": [["", ""]] * 13}, {"ranges": "all"}]
    )
    def test_another_position_is_refused(self, engine: Engine, position: Any) -> None:
        ends = listing(ListedBucket([], 5), engine)
        with pytest.raises(InputError, match="not a position in the source"):
            engine.run(lambda: read_some(ends, engine, "prefix", PREFIX, position))


class Replies:
    """Scripted pages of keys, each with its token."""

    def __init__(self, replies: list[tuple[list[str], str | None]]) -> None:
        self._replies = replies

    async def list_page(self, prefix: S3Prefix, token: str | None) -> tuple[list[ListedObject], str | None]:
        keys, following = self._replies[int(token or 0)]
        return [ListedObject(key, int(not key.endswith("/")), '"e"') for key in keys], following

    async def list_after(
        self, prefix: S3Prefix, after: str, token: str | None
    ) -> tuple[list[ListedObject], str | None]:
        return await self.list_page(prefix, token)


class TestInventories:
    FILES: ClassVar = {
        "data/1.csv.gz": inventory_csv(inventory_row(f"in/{number:03d} ä") for number in range(50)),
        "data/2.csv.gz": inventory_csv(inventory_row(f"in/b/{number}") for number in range(20)),
    }

    def objects(
        self, files: Mapping[str, bytes] = FILES, changed: Mapping[str, Any] | None = None
    ) -> dict[str, bytes]:
        return {**files, "manifest.json": inventory(files, "lists", changed)}

    @pytest.mark.parametrize("stop", [1, 2, 10**6])
    def test_each_row_is_found_once(self, engine: Engine, small: None, stop: int) -> None:
        pages = read(engine, self.objects(), "inventory", "manifest.json", stop)

        names = [f"in/{number:03d} ä" for number in range(50)] + [f"in/b/{number}" for number in range(20)]
        assert found_in(pages) == [Found("raw", name, 7, '"d41d8"') for name in names]
        shares = cast("list[float]", [page.share for page in pages])
        assert shares == sorted(shares)
        assert shares[-1] == 1.0

    def test_rows_are_left_out_with_their_reasons(self, engine: Engine) -> None:
        lines = [
            inventory_row("in/a"),
            inventory_row("in/b", IsDeleteMarker="true"),
            inventory_row("in/b", IsLatest="false"),
            inventory_row("in/c", StorageClass="GLACIER"),
            inventory_row("in/d/", Size="0"),
            inventory_row("in/e", IsLatest="FALSE"),
            inventory_row("in/f", IsLatest="TRUE"),
            inventory_row("in/g", Size="", ETag="", IsLatest="", IsDeleteMarker=""),
        ]
        pages = read(engine, self.objects({"1.csv.gz": inventory_csv(lines)}), "inventory", "manifest.json")

        assert left_out_of(pages) == {
            "delete_marker": 1,
            "older_version": 2,
            "archived": 1,
            "folder_marker": 1,
        }
        assert [(found.key, found.size, found.etag) for found in found_in(pages)] == [
            ("in/a", 7, '"d41d8"'),
            ("in/f", 7, '"d41d8"'),
            ("in/g", None, ""),
        ]

    def test_a_short_schema_is_enough(self, engine: Engine) -> None:
        rows_of_two = inventory_csv([["raw", "in/a"], ["other", "in/b%2Fc"]])
        objects = self.objects({"1.csv.gz": rows_of_two}, {"fileSchema": "Bucket, Key"})
        pages = read(engine, objects, "inventory", "manifest.json")
        assert found_in(pages) == [Found("raw", "in/a"), Found("other", "in/b/c")]

    def test_an_inventory_of_nothing_has_no_pages(self, engine: Engine) -> None:
        assert read(engine, self.objects({}), "inventory", "manifest.json") == []

    @pytest.mark.parametrize(
        ("changed", "expected_message"),
        [
            ({"fileFormat": "XML"}, "not the manifest of an S3 Inventory"),
            ({"files": [{"key": "a", "size": 1}]}, "MD5checksum"),
            ({"files": [{"key": "a", "size": 1, "MD5checksum": "?"}]}, "MD5checksum"),
            ({"destinationBucket": "arn:aws:s3:::other"}, "files in the bucket 'other': read the manifest"),
            ({"fileSchema": "Key, Size"}, "has no Bucket in its schema Key, Size"),
            ({"fileSchema": SCHEMA + ", Key"}, "no distinct fields"),
            ({"fileSchema": SCHEMA + ", New"}, "1.csv.gz, row 1: it has 8 fields, and the schema has 9"),
        ],
    )
    def test_a_wrong_manifest_is_refused(
        self, engine: Engine, changed: Mapping[str, Any], expected_message: str
    ) -> None:
        assert expected_message in refusal(
            engine, self.objects(changed=changed), "inventory", "manifest.json"
        )

    @pytest.mark.parametrize(
        ("line", "expected_message"),
        [
            (["raw", "%FF"], "1.csv.gz, row 2: 'utf-8' codec can't decode"),
            (["raw", ""], "names an object"),
            (["?", "in/a"], "not a bucket name"),
            (["raw", "a" * 1025], "1025 bytes"),
            (["raw", "in/a", "seven"], "row 2: invalid literal"),
            (["raw", "in/a", "7", "e", "more"], "row 2: it has 5 fields"),
            (["raw", "in\n/a", "7"], "a quote is open"),
            (["raw", "k" * 70_000, "7"], "over 65536 bytes long. No row of such a list is"),
        ],
    )
    def test_a_wrong_row_is_refused_by_its_number(
        self, engine: Engine, line: list[str], expected_message: str
    ) -> None:
        if len(line) < 4:
            line = [*line, *["7", "e"][len(line) - 2 :]]
        content = inventory_csv([["raw", "in/a", "1", "e"], line])
        objects = self.objects({"1.csv.gz": content}, {"fileSchema": "Bucket, Key, Size, ETag"})
        message = refusal(engine, objects, "inventory", "manifest.json")
        assert expected_message in message or (expected_message == "names an object" and "no key" in message)

    @pytest.mark.parametrize(
        ("changed", "expected_message"),
        [
            (FILES["data/2.csv.gz"], "has the MD5"),
            (FILES["data/1.csv.gz"][:-30], "1.csv.gz"),
            (FILES["data/1.csv.gz"] + b"\0", "has the MD5"),
            (b"", "has the MD5 d41d8cd98f00b204e9800998ecf8427e, and its manifest says"),
        ],
    )
    def test_a_changed_file_is_refused(self, engine: Engine, changed: bytes, expected_message: str) -> None:
        objects = self.objects() | {"data/1.csv.gz": changed}
        assert expected_message in refusal(engine, objects, "inventory", "manifest.json")

    def test_a_file_that_is_cut_is_refused(self, engine: Engine) -> None:
        cut = {"data/1.csv.gz": self.FILES["data/1.csv.gz"][:-30]}
        message = refusal(engine, self.objects(cut), "inventory", "manifest.json")
        assert "1.csv.gz: the gzip data end at byte" in message

    def test_another_manifest_cannot_be_continued(self, engine: Engine, small: None) -> None:
        place = S3Object("lists", "manifest.json")
        [page] = engine.run(
            lambda: read_some(stored(engine, self.objects()), engine, "inventory", place, None, 1)
        )
        changed = stored(engine, self.objects(changed={"creationTimestamp": "now"}))
        with pytest.raises(SourceChanged, match="was overwritten while it was planned"):
            engine.run(lambda: read_some(changed, engine, "inventory", place, page.position))


JSON_ROWS: list[dict[str, Any]] = [
    {"source": f"s3://raw/in/{number}", "destination": f"s3://clean/{number}", "size": number, "etag": '"e"'}
    for number in range(1, 40)
]
CSV_LIST = b"\xef\xbb\xbfsource,destination,size,etag\r\n" + b"".join(
    f'"{row["source"]}",{row["destination"]},{row["size"]},e\r\n'.encode() for row in JSON_ROWS
)
JSON_LIST = b"\n".join(json.dumps(row).encode() for row in JSON_ROWS)
EXPECTED = [
    Found("raw", f"in/{number}", number, '"e"', "", f"s3://clean/{number}") for number in range(1, 40)
]


class TestLists:
    @pytest.mark.parametrize("stop", [1, 3, 10**6])
    @pytest.mark.parametrize(
        ("kind", "key", "content"),
        [
            ("jsonl", "list.jsonl", JSON_LIST),
            ("jsonl", "list.jsonl", b"\xef\xbb\xbf" + JSON_LIST.replace(b"\n", b"\r\n\r\n") + b"\r\n"),
            ("jsonl", "list.jsonl.gz", gzip.compress(JSON_LIST)),
            ("csv", "list.csv", CSV_LIST),
            ("csv", "list.csv.gz", gzip.compress(CSV_LIST)),
        ],
    )
    def test_each_row_is_found_once(
        self, engine: Engine, small: None, kind: SourceKind, key: str, content: bytes, stop: int
    ) -> None:
        pages = read(engine, {key: content}, kind, key, stop)
        assert found_in(pages) == EXPECTED
        shares = cast("list[float]", [page.share for page in pages])
        assert shares == sorted(shares)
        assert shares[-1] == 1.0

    def test_all_fields_but_the_source_may_be_missing(self, engine: Engine) -> None:
        content = b'{"source": "s3://raw/a b?+"}\n{"source": "s3://raw/m/", "size": 0}\n'
        pages = read(engine, {"l": content + b'{"source":"s3://raw/c","version_id":"v1"}'}, "jsonl", "l")
        assert found_in(pages) == [Found("raw", "a b?+"), Found("raw", "c", version_id="v1")]
        assert left_out_of(pages) == {"folder_marker": 1}
        assert found_in(pages)[1].source == S3Object("raw", "c", "v1")

    def test_a_csv_field_may_have_line_ends_and_commas(self, engine: Engine) -> None:
        content = b'size,source\n,"s3://raw/a\n,b"\n\n3,"s3://raw/""c"""'
        pages = read(engine, {"l": content}, "csv", "l")
        assert found_in(pages) == [Found("raw", "a\n,b"), Found("raw", '"c"', 3)]

    @pytest.mark.parametrize(
        ("kind", "content", "expected_message"),
        [
            ("jsonl", b'{"source": "s3://raw/a"}\n{"source"', "s3://lists/l, line 2: "),
            (
                "jsonl",
                b'{"source": "s3://raw/a", "destinaton": "s3://b/c"}',
                "line 1: Object contains unknown",
            ),
            ("jsonl", b'\n\n{"size": 3}', "line 3: Object missing required field `source`"),
            ("jsonl", b'{"source": "s3://raw/a", "size": -1}', "line 1: Expected `int` >= 0"),
            ("jsonl", b'{"source": "raw/a"}', "line 1: 'raw/a' is not an S3 URI"),
            ("jsonl", b'{"source": "s3://raw"}', "line 1: 's3://raw' names no object"),
            (
                "jsonl",
                b'{"source": "s3://raw/a", "destination": "clean"}',
                "line 1: 'clean' is not an S3 URI",
            ),
            ("jsonl", b'{"source": "s3://raw/' + b"a" * 1025 + b'"}', "line 1: key 'aaa"),
            (
                "jsonl",
                b'{"source": "s3://raw/' + b"a" * 66_000 + b'"}',
                "line 1, at byte 0 of the input: over",
            ),
            ("jsonl", b'{"source": "s3://raw/\xff"}', "line 1: "),
            ("csv", b"", "has no header"),
            ("csv", b"source,destinaton\ns3://raw/a,b\n", "line 1: the header has destinaton"),
            ("csv", b"destination\nb\n", "line 1: the header has no `source`"),
            ("csv", b"source,source\n", "line 1: the header has no `source`, or a name twice"),
            ("csv", b"source\ns3://raw/a\ns3://raw/b,3\n", "line 3: the row has 2 fields"),
            ("csv", b"source,size\ns3://raw/a,big\n", "line 2: Expected `int"),
            ("csv", b'source\n"s3://raw/a\n', "a quote is open at the end"),
            ("csv", b"source\ns3://raw/" + b"a" * 66_000, "over 65536 bytes long"),
            ("csv", b"source\ns3://raw/\xff\n", "line 2: 'utf-8' codec"),
        ],
    )
    def test_a_malformed_line_is_refused_by_its_number(
        self, engine: Engine, kind: SourceKind, content: bytes, expected_message: str
    ) -> None:
        assert expected_message in refusal(engine, {"l": content}, kind, "l")

    def test_an_empty_list_has_no_pages(self, engine: Engine) -> None:
        assert read(engine, {"l": b""}, "jsonl", "l") == []

    def test_what_is_not_gzip_is_refused(self, engine: Engine) -> None:
        assert "s3://lists/l.gz: the input is not gzip data" in refusal(
            engine, {"l.gz": b"?"}, "jsonl", "l.gz"
        )

    @settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=60)
    @given(
        st.lists(st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=9), max_size=30),
        STOPS,
    )
    def test_a_csv_list_reads_what_was_written(
        self, engine: Engine, small: None, keys: list[str], stops: list[int]
    ) -> None:
        lines = ["source,size", *(_csv(f"s3://raw/{key}") + ",5" for key in keys)]
        pages = read(engine, {"l": "\n".join(lines).encode()}, "csv", "l", *stops)
        assert [found.key for found in found_in(pages)] == keys


def _csv(text: str) -> str:
    return '"' + text.replace('"', '""') + '"'


@pytest.mark.parametrize(
    ("kind", "place"), [("lines", LIST), ("zip", LIST), ("jsonl", PREFIX), ("prefix", LIST)]
)
def test_a_place_of_another_kind_is_refused(engine: Engine, kind: SourceKind, place: SourcePlace) -> None:
    with pytest.raises(InputError, match="is not a source of the kind"):
        engine.run(lambda: read_some(stored(engine, {}), engine, kind, place))
