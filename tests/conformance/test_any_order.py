"""Copies, faults, overwrites and continuations in any order: the destination is one version, or absent."""

from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    invariant,
    rule,
    run_state_machine_as_test,
)

from asyncstream import Continuation, KiB, MiB, S3Object, TransferConfig, TransferSession
from asyncstream.engines import ENGINES, EngineName
from asyncstream.lab.s3 import Fault
from asyncstream.pipeline.progress import BytesMoved, Event
from tests.servers import Bucket, LabServer, content

from .clocks import Clock

pytestmark = [pytest.mark.slow, pytest.mark.parametrize("server", ["lab"], indirect=True)]

SIZES = [0, 1, 100 * KiB, 700 * KiB, 5 * MiB + 1, 11 * MiB]
ABSENT = b"there is nothing"
FAULTS = st.one_of(
    st.builds(
        Fault, st.sampled_from(["refuse", "reset", "lost-reply"]), st.just("GetObject"), times=st.just([1])
    ),
    st.builds(
        Fault,
        st.sampled_from(["refuse", "reset", "reset-body", "wrong-byte", "lost-reply"]),
        st.sampled_from(["PutObject", "UploadPart"]),
        times=st.sampled_from([[1], [2], [1, 2, 3, 4]]),
    ),
    st.builds(
        Fault,
        st.sampled_from(["truncate", "reset-body", "wrong-byte", "overwrite-source"]),
        st.just("GetObject"),
        times=st.sampled_from([[1], [2], [1, 2, 3, 4]]),
    ),
    st.builds(
        Fault,
        st.sampled_from(["error-in-200", "lost-reply", "refuse"]),
        st.just("CompleteMultipartUpload"),
        times=st.sampled_from([[1], [1, 2, 3, 4, 5, 6]]),
    ),
)


class AnyOrder(RuleBasedStateMachine):
    """One source, one destination."""

    def __init__(
        self, server: LabServer, bucket: Bucket, clock: Clock, sessions: dict[EngineName, TransferSession]
    ) -> None:
        super().__init__()
        bucket.empty()
        self.faults: list[Fault] = []
        self.lab, self.bucket, self.clock, self.sessions = server.lab, bucket, clock, sessions
        self.pair = (S3Object(bucket.name, "source"), S3Object(bucket.name, "copy"))
        self.versions: set[bytes] = set()
        self.left: dict[tuple[S3Object, S3Object], Continuation] = {}
        self.numbers = iter(range(1000))
        self.overwrite(SIZES[2])

    @rule(size=st.sampled_from(SIZES))
    def overwrite(self, size: int) -> None:
        body = content(size, next(self.numbers))
        self.bucket.put("source", body)
        self.versions.add(body)

    @rule(faults=st.lists(FAULTS, max_size=2))
    def go_wrong_from_now_on(self, faults: list[Fault]) -> None:
        self.faults = faults

    @rule(
        engine=st.sampled_from(ENGINES),
        multipart=st.booleans(),
        if_exists=st.sampled_from(["overwrite", "skip", "fail"]),
        bytes_until_the_end=st.sampled_from([None, None, 1, 3 * MiB, 8 * MiB]),
    )
    def copy(
        self, engine: EngineName, multipart: bool, if_exists: Any, bytes_until_the_end: int | None
    ) -> None:
        """Start a copy, or continue the pending one."""
        moved = 0

        def count(event: Event) -> None:
            nonlocal moved
            moved += event.bytes if isinstance(event, BytesMoved) else 0
            if bytes_until_the_end is not None and moved >= bytes_until_the_end:
                self.clock.now += 1000

        self.versions.add(self.bucket.get("source"))  # a fault may have overwritten it
        config = TransferConfig(
            chunk_size=64 * KiB,
            part_size=5 * MiB,
            retry_base_delay=0.001,
            retry_max_delay=0.001,
            multipart=multipart,
            if_exists=if_exists,
            deadline=500.0,
            at_deadline="pending",
        )
        self.lab.set_faults(self.faults)
        report = self.sessions[engine].transfer([self.pair], config, count, self.left)
        self.lab.set_faults([])
        [result] = report.files
        self.left = dict(report.continuations)
        self.versions.add(self.bucket.get("source"))
        if result.status == "copied":
            assert self.bucket.get("copy") in self.versions

    @rule()
    def lose_the_upload_that_was_left(self) -> None:
        # Not a precondition: `left` depends on the order of threads, but the choice of rules must not.
        if not self.left:
            return
        self.bucket.client.abort_multipart_upload(
            Bucket=self.bucket.name, Key="copy", UploadId=self.left[self.pair].upload_id
        )

    @invariant()
    def what_is_stored_is_one_version_whole(self) -> None:
        stored = self.bucket.get("copy") if self.bucket.keys("copy") else ABSENT
        assert stored == ABSENT or stored in self.versions

    @invariant()
    def nothing_is_left_but_what_is_to_be_continued(self) -> None:
        assert len(self.bucket.uploads()) <= len(self.left)


@pytest.fixture
def sessions(server: LabServer) -> Iterator[dict[EngineName, TransferSession]]:
    opened = {engine: TransferSession(engine, endpoint_url=server.endpoint_url) for engine in ENGINES}
    yield opened
    for each in opened.values():
        each.close()


def test_in_any_order_what_is_stored_is_one_version_whole(
    server: LabServer,
    bucket: Bucket,
    sessions: dict[EngineName, TransferSession],
    clock: Clock,
) -> None:
    run_state_machine_as_test(
        lambda: AnyOrder(server, bucket, clock, sessions),  # type: ignore[arg-type] # any callable will do
        settings=settings(
            max_examples=15,
            stateful_step_count=10,
            derandomize=True,
            suppress_health_check=list(HealthCheck),
        ),
    )
