"""The rounds in which a trigger's items run."""

from collections.abc import Sequence

import hypothesis.strategies as st
from hypothesis import given

from asyncstream import InputError, S3Object, S3Prefix, Tar
from asyncstream.events.items import Item
from asyncstream.events.rounds import rounds
from asyncstream.locations import Pack
from asyncstream.pipeline.pairs import Pair


def copy(source: str, destination: str) -> Pair:
    return S3Object("raw", source), S3Object("clean", destination)


PREFIX: Pair = (S3Prefix("raw"), S3Prefix("clean"))
keys = st.sampled_from("abc")
items = st.lists(
    st.builds(
        Item,
        name=st.just("item"),
        pairs=st.one_of(
            st.lists(st.builds(copy, keys, keys), max_size=2, unique_by=lambda pair: pair[1]).map(tuple),
            st.just((PREFIX,)),
        ),
        config=st.sampled_from([{}, {"multipart": True}]),
        error=st.sampled_from([None, None, None, InputError("?")]),
        group=st.sampled_from([None, "g", "h"]),
    ),
    max_size=12,
)


def find_round(planned: Sequence[Sequence[int]], position: int) -> int:
    return next(number for number, positions in enumerate(planned) if position in positions)


def test_a_copy_stays_after_a_pack_of_the_same_object() -> None:
    target = S3Object("clean", "x")
    pack: Pair = Pack(S3Prefix("raw"), Tar(target)), target
    given_items = [Item("a", (copy("a", "y"),)), Item("b", (pack,)), Item("c", (copy("b", "x"),))]
    planned = rounds(given_items)
    assert find_round(planned, 1) < find_round(planned, 2)


@given(items)
def test_every_item_that_has_something_to_copy_runs_once(given_items: list[Item]) -> None:
    planned = [position for positions in rounds(given_items) for position in positions]

    assert sorted(planned) == [n for n, item in enumerate(given_items) if item.pairs and not item.error]


@given(items)
def test_a_round_is_one_transfer(given_items: list[Item]) -> None:
    for positions in rounds(given_items):
        together = [given_items[position] for position in positions]
        pairs = {pair for item in together for pair in item.pairs}

        assert all(item.config == together[0].config for item in together)
        assert len({destination for _, destination in pairs}) == len(pairs)
        assert PREFIX not in pairs or len(together) == 1


@given(items)
def test_a_group_keeps_its_order(given_items: list[Item]) -> None:
    planned = rounds(given_items)
    for group in ("g", "h"):
        places = [
            find_round(planned, position)
            for position, item in enumerate(given_items)
            if item.group == group and item.pairs and not item.error
        ]
        assert places == sorted(set(places))


@given(items)
def test_writes_of_the_same_object_keep_their_order(given_items: list[Item]) -> None:
    planned = rounds(given_items)
    order = [position for positions in planned for position in positions]
    for later in order:
        for earlier in order:
            if earlier < later and _write_differently(given_items[earlier], given_items[later]):
                assert find_round(planned, earlier) < find_round(planned, later)


def _write_differently(one: Item, other: Item) -> bool:
    return any(
        mine != theirs and mine[1] == theirs[1] and mine != PREFIX
        for mine in one.pairs
        for theirs in other.pairs
    )


def test_items_without_anything_in_common_run_together() -> None:
    several = [Item(key, (copy(key, key),), group=group) for key, group in zip("abc", "gh-", strict=True)]

    assert rounds(several) == [[0, 1, 2]]
