"""Listings of many pages, from a store with scripted answers."""

from collections.abc import Sequence
from typing import Any

import pytest

from asyncstream.deadline import NO_DEADLINE
from asyncstream.engines.driver import drive
from asyncstream.engines.sequential import SequentialEngine
from asyncstream.errors import InputError, NothingToTransfer, S3Error
from asyncstream.locations import S3Prefix
from asyncstream.objects import ListedObject
from asyncstream.pipeline import listing
from asyncstream.pipeline.config import TransferConfig
from asyncstream.pipeline.context import Ends
from asyncstream.pipeline.jobs import Jobs
from asyncstream.retry import Retrying
from asyncstream.units import MiB
from tests.places import key_of

PAIR = (S3Prefix("raw", "in/"), S3Prefix("clean", "out/"))


class Pages:
    """A store with pages of keys that counts the pages read."""

    def __init__(self, *pages: Sequence[str]) -> None:
        self._pages = pages
        self.asked = 0

    async def list_page(self, prefix: S3Prefix, token: str | None) -> tuple[list[ListedObject], str | None]:
        page = self._pages[int(token or 0)]
        self.asked += 1
        following = str(self.asked) if self.asked < len(self._pages) else None
        return [ListedObject(key, int(not key.endswith("/")), f'"{key}"') for key in page], following


def found(pages: Any, **options: Any) -> Jobs:
    retrying = Retrying(TransferConfig().retry_policy, NO_DEADLINE, SequentialEngine().sleep)
    return drive(listing.list_files(Ends({S3Prefix: pages}, {}, retrying), [PAIR], **options))


def listed_keys(jobs: Jobs) -> list[str]:
    return [key_of(job.destination).removeprefix("out/") for job in jobs]


def test_a_key_on_two_pages_is_copied_once() -> None:
    jobs = found(Pages(["in/a", "in/b"], ["in/b", "in/c"], ["in/d"]))

    assert listed_keys(jobs) == ["a", "b", "c", "d"]


def test_keys_in_no_order_are_all_found_once() -> None:
    """Directory buckets list keys unordered."""
    jobs = found(Pages(["in/z", "in/b", "in/q"], ["in/a", "in/z"], ["in/q", "in/c", "in/zz"]))

    assert listed_keys(jobs) == ["z", "b", "q", "a", "c", "zz"]


def test_pages_of_nothing_are_nothing_to_transfer() -> None:
    with pytest.raises(NothingToTransfer, match="nothing is stored under s3://raw/in/"):
        found(Pages([], []))


def test_a_page_of_folder_markers_is_not_the_end() -> None:
    jobs = found(Pages(["in/", "in/a/"], ["in/b/"], ["in/b/", "in/c"]))

    assert listed_keys(jobs) == ["c"]
    assert jobs.folder_markers == 3


def test_folder_markers_alone_are_nothing_to_transfer() -> None:
    with pytest.raises(NothingToTransfer, match="nothing is stored under s3://raw/in/ but 2 folder markers"):
        found(Pages(["in/", "in/a/"]))


def test_folder_markers_that_repeat_do_not_list_for_ever() -> None:
    with pytest.raises(S3Error, match="its pages repeat"):
        found(Pages(*[["in/", "in/a/"]] * 3))


def test_folder_markers_need_memory_while_they_are_listed() -> None:
    with pytest.raises(InputError, match="more memory"):
        found(Pages([f"in/{number}/" for number in range(100)]), room=1_000)


def test_a_listing_that_memory_has_no_room_for_is_refused() -> None:
    """The listing stops as soon as the memory is short, and the error lists the ways out."""
    page = 1_000
    pages = Pages(*([f"in/{place:03d}-{key:06d}" for key in range(page)] for place in range(100)))

    with pytest.raises(InputError) as refused:
        found(pages, room=1 * MiB)

    assert pages.asked == 1 + MiB // (found(Pages(["in/000-000001"])).held * page)
    for way_out in (f"{pages.asked * page:,} objects", "1 MiB", "more memory", "prefix", "state machine"):
        assert way_out in str(refused.value)


def test_what_fits_is_listed() -> None:
    assert len(found(Pages(["in/a"], ["in/b"]), room=1_000)) == 2
