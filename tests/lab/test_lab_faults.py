"""The rules of fault injection, without a server."""

import random
from collections import Counter
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asyncstream.lab.s3.faults import COPY_OPERATIONS, OPERATIONS, Fault, FaultPlan, Target, mix
from asyncstream.lab.s3.injection import EFFECTS
from asyncstream.lab.s3.routing import OPERATIONS as ROUTES
from asyncstream.lab.s3.routing import UPLOAD_PART_COPY

REQUESTS = st.builds(
    Target,
    operation=st.sampled_from(sorted(OPERATIONS)),
    bucket=st.just("b"),
    key=st.sampled_from(["a", "b/c", "\ud800"]),
    part_number=st.sampled_from(["", "1", "2"]),
    range=st.sampled_from(["", "bytes=0-9"]),
)


def get(key: str, span: str = "") -> Target:
    return Target("GetObject", "b", key, range=span)


def struck(plan: FaultPlan, *targets: Target) -> list[bool]:
    return [plan.choose(target) is not None for target in targets]


@given(st.lists(REQUESTS, max_size=60), st.integers(0, 9), st.randoms())
def test_the_same_work_meets_the_same_faults_in_any_order(
    targets: list[Target], seed: int, order: random.Random
) -> None:
    def met(work: Any) -> Any:
        plan = FaultPlan(mix(0.7), seed)
        return Counter((target, fault and (fault.kind, fault.status)) for target, fault in work(plan))

    shuffled = order.sample(targets, len(targets))
    in_order = met(lambda plan: [(target, plan.choose(target)) for target in targets])
    assert in_order == met(lambda plan: [(target, plan.choose(target)) for target in shuffled])


@given(st.integers(0, 100_000))
def test_another_seed_draws_other_faults(seed: int) -> None:
    targets = [get(str(number)) for number in range(100)]
    rule = [Fault("reset", rate=0.5)]
    assert struck(FaultPlan(rule, seed), *targets) == struck(FaultPlan(rule, seed), *targets)
    assert struck(FaultPlan(rule, seed), *targets) != struck(FaultPlan(rule, seed + 1), *targets)


def test_a_refusal_is_named_by_its_error_and_others_by_kind() -> None:
    assert [Fault("refuse").name, Fault("reset").name] == ["SlowDown", "reset"]


@given(st.lists(REQUESTS, max_size=60))
def test_faults_are_the_same_under_an_ignored_prefix(targets: list[Target]) -> None:
    """The same work meets the same faults."""

    def met(plan: FaultPlan, below: str) -> Any:
        return [plan.choose(target._replace(key=below + target.key)) for target in targets]

    plain, moved = FaultPlan(mix(0.7)), FaultPlan(mix(0.7), ignored_prefix="run-1/")
    assert met(moved, "run-1/") == met(plain, "")


@pytest.mark.parametrize("rate", [0.0, 0.02, 0.2, 1.0])
def test_a_mix_befalls_as_many_requests_as_its_rate_says(rate: float) -> None:
    plan = FaultPlan(mix(rate), seed=1)
    parts = [get("large", f"bytes={8 * n}-{8 * n + 7}") for n in range(3000)]  # they differ in few digits
    found = struck(plan, *parts)
    assert sum(found) / len(found) == pytest.approx(rate, abs=0.025)
    assert sum(plan.struck()) == sum(found)


def test_a_mix_has_every_kind_but_the_ones_that_do_not_heal() -> None:
    assert {fault.kind for fault in mix(0.1)} == set(EFFECTS) - {"overwrite-source", "slow"}


def test_a_mix_loses_no_reply_without_which_an_upload_would_stay() -> None:
    lost = {operation for fault in mix(0.1) if fault.kind == "lost-reply" for operation in fault.operations}
    assert lost == COPY_OPERATIONS - {"CreateMultipartUpload"}


def test_every_kind_has_its_deed_and_every_operation_its_name() -> None:
    assert {operation.name for operation in ROUTES.values()} | {UPLOAD_PART_COPY.name} == OPERATIONS
    for kind in EFFECTS:
        assert Fault(kind).operations


@given(st.sets(st.integers(1, 30), min_size=1), st.integers(0, 30))
def test_times_counts_the_requests_that_match(times: set[int], others: int) -> None:
    plan = FaultPlan([Fault("reset", key="k*", times=sorted(times))])
    targets = [get("k1")] * 15 + [get("k2")] * 15
    work = targets + [get("other")] * others
    random.Random(others).shuffle(work)
    found = [
        plan.choose(target) is not None for target in work if target.key != "other" or plan.choose(target)
    ]
    assert [number for number, hit in enumerate(found, 1) if hit] == sorted(times)
    assert plan.struck() == [len(times)]


def test_the_first_rule_that_strikes_takes_the_request() -> None:
    """The rules after it count the request, too."""
    plan = FaultPlan([Fault("reset", times=[1]), Fault("refuse", times=[2]), Fault("stall", times=[1, 3])])
    chosen = [plan.choose(get("k")) for _ in range(4)]
    assert [fault and fault.kind for fault in chosen] == ["reset", "refuse", "stall", None]
    assert plan.struck() == [1, 1, 1]


@pytest.mark.parametrize(
    ("fault", "target", "expected"),
    [
        (Fault("reset"), Target("HeadObject", "b", "k"), True),
        (Fault("reset"), Target("ListObjectsV2", "b", ""), False),
        (Fault("reset", operation="ListObjectsV2"), Target("ListObjectsV2", "b", ""), True),
        (Fault("reset", operation="GetObject"), Target("HeadObject", "b", "k"), False),
        (Fault("truncate"), Target("PutObject", "b", "k"), False),
        (Fault("error-in-200"), Target("CompleteMultipartUpload", "b", "k"), True),
        (Fault("error-in-200"), Target("UploadPart", "b", "k", "1"), False),
        (Fault("reset", key="a/*"), get("a/b/c"), True),
        (Fault("reset", key="a/*"), get("A/b"), False),
        (Fault("reset", part_number=2), Target("UploadPart", "b", "k", "2"), True),
        (Fault("reset", part_number=2), Target("UploadPart", "b", "k", "12"), False),
        (Fault("reset", part_number=2), get("k"), False),
    ],
)
def test_a_rule_matches_by_operation_key_and_part(fault: Fault, target: Target, expected: bool) -> None:
    assert fault.matches(target) is expected
    assert struck(FaultPlan([fault]), target) == [expected]


@pytest.mark.parametrize(
    ("fields", "expected_message"),
    [
        ({"kind": "explode"}, "kind 'explode'"),
        ({"operation": "GetThing"}, "operation 'GetThing'"),
        ({"kind": "truncate", "operation": "PutObject"}, "'truncate' does not apply to PutObject"),
        ({"kind": "truncate", "part_number": 3}, "'truncate' does not apply to part 3"),
        ({"operation": "GetObject", "part_number": 3}, "does not apply to GetObject"),
        ({"part_number": 0}, "part_number 0"),
        ({"times": []}, "times"),
        ({"times": [0, 1]}, "times"),
        ({"rate": 1.1}, "rate 1.1"),
        ({"at": -0.1}, "at -0.1"),
        ({"at": float("nan")}, "at nan"),
        ({"seconds": -1}, "seconds -1"),
        ({"status": 200}, "status 200"),
        ({"status": 304}, "status 304"),
        ({"code": ""}, "code"),
        ({"retry_after": -1}, "retry_after -1"),
        ({"bytes_per_second": 0}, "bytes_per_second 0"),
    ],
)
def test_a_rule_that_cannot_be_meant_is_refused(fields: dict[str, Any], expected_message: str) -> None:
    with pytest.raises(ValueError, match=expected_message):
        Fault(**{"kind": "reset", **fields})


def test_a_mix_refuses_what_is_no_rate() -> None:
    with pytest.raises(ValueError, match="rate 2"):
        mix(2)


def test_operations_of_a_copy_are_among_all() -> None:
    assert COPY_OPERATIONS < OPERATIONS
