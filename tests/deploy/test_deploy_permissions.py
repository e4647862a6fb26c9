"""`deploy/template.yaml`: the permissions of its roles and resource policies.

The table in `deploy/README.md` has every permission with its reason. Two tools check the deployed policies:
cloudsplaining finds policies that allow too much. cfn-lint finds actions that do not exist and resources of
the wrong kind, which it overlooks in a SAM template.
"""

import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from cloudsplaining.scan.policy_document import PolicyDocument

from asyncstream.s3.failures import PERMISSIONS

from .cloudformation import GATHERS, IN_VPC, PSEUDO, Stack, deploy

NAMED = {
    "Trigger": "yes",
    "SourceBucketName": "source",
    "SourcePrefix": "raw/",
    "DestinationBucketName": "destination",
    "DestinationPrefix": "clean/",
    "TriggerPrefix": "raw/new/",
}
ROLES = {
    "SourceRoleArn": "arn:aws:iam::444455556666:role/reader",
    "DestinationRoleArn": "arn:aws:iam::444455556666:role/writer",
}
GATHERING = NAMED | ROLES | GATHERS | IN_VPC | {"CopyTags": "yes"}
BY_IAM = {"DatabaseSecretArn": "", "DatabaseResourceId": "db-ABC123", "DatabaseUser": "writer"}
STACKS = {
    "named buckets": NAMED,
    "own buckets": {"Trigger": "yes"},
    "no trigger": {},
    "another winner": NAMED | {"Winner": "AsyncioMultipart"},
    "gathers": GATHERING,
    "gathers by IAM": GATHERING | BY_IAM,
    "gathers URLs in events": GATHERS | {"GatherUrls": ""},
}
# Each attribute is a list of actions that cloudsplaining objects to.
FAULTS = [
    "all_allowed_unrestricted_actions",
    "allows_data_exfiltration_actions",
    "allows_privilege_escalation",
    "contains_statement_using_not_action",
    "credentials_exposure",
    "infrastructure_modification",
    "permissions_management_without_constraints",
    "service_wildcard",
    "tagging_actions_without_constraints",
    "write_actions_without_constraints",
]


class Permission(NamedTuple):
    """A row of the table."""

    policy: str
    statement: str
    action: str
    resource: str


def as_list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def roles(stack: Stack) -> dict[str, Any]:
    """Return policy documents by role (or by a policy beside one) and the policy's name."""
    documents = {
        (name, policy["PolicyName"]): policy["PolicyDocument"]
        for name, role in stack.of_type("AWS::IAM::Role").items()
        for policy in role.get("Policies", [])
    }
    for name, policy in stack.of_type("AWS::IAM::Policy").items():
        documents[name, policy["PolicyName"]] = policy["PolicyDocument"]
    return {" ".join(key): document for key, document in documents.items()}


def resource_policies(stack: Stack) -> dict[str, Any]:
    return {
        name: policy["PolicyDocument"]
        for kind in ("AWS::SQS::QueuePolicy", "AWS::S3::BucketPolicy")
        for name, policy in stack.of_type(kind).items()
    }


def statements(stack: Stack) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield every statement with the logical id of its resource."""
    for name, document in (roles(stack) | resource_policies(stack)).items():
        for statement in document["Statement"]:
            yield name.partition(" ")[0], statement


def permissions(stack: Stack) -> set[Permission]:
    """Return the permissions that the table must have."""
    return {
        Permission(
            name,
            statement["Sid"],
            action if statement["Effect"] == "Allow" else f"not {action}",
            short(resource),
        )
        for name, statement in statements(stack)
        for action in as_list(statement["Action"])
        for resource in as_list(statement["Resource"])
    }


def short(arn: str) -> str:
    """Return the ARN in the form of the table: only the logical id for resources that the stack created."""
    place = f"{PSEUDO['AWS::Region']}:{PSEUDO['AWS::AccountId']}:"
    text = re.sub(rf"^arn:aws:[\w-]+:(::|:{PSEUDO['AWS::AccountId']}:|{place})", "", arn)
    made = {"sourcebucket": "SourceBucket", "destinationbucket": "DestinationBucket"}
    return re.sub(r"asyncstream-(\w+)-1(?:ABCDEF|abcdef)", lambda found: made.get(found[1], found[1]), text)


@pytest.fixture(scope="module")
def rows(root: Path) -> list[Permission]:
    """Return the rows of the table, without their reasons."""
    found = re.findall(
        r"^\| `(\w+)` \| `(\w+)` \| `([^`]+)` \| `([^`]+)` \| \S.+ \|$",
        (root / "deploy" / "README.md").read_text(),
        re.MULTILINE,
    )
    return [Permission(*row) for row in found]


class TestTable:
    def test_permissions_and_table_rows_match_one_to_one(self, rows: list[Permission]) -> None:
        made = deploy(Trigger="yes")
        of_buckets = {each for each in permissions(made) if each.policy.endswith("BucketPolicy")}

        gathering = permissions(deploy(**GATHERING)) | permissions(deploy(**GATHERING | BY_IAM))
        assert set(rows) == gathering | of_buckets

    def test_no_row_is_there_twice(self, rows: list[Permission]) -> None:
        assert len(rows) == len(set(rows))


@pytest.mark.parametrize("given", STACKS.values(), ids=list(STACKS))
class TestPolicies:
    def test_the_functions_may_do_all_that_a_copy_does(self, given: dict[str, str]) -> None:
        """Only `asyncstream clean`, which does not run as a function, lists uploads. Tags are an option."""
        actions = {
            action
            for name, statement in statements(deploy(**given))
            for action in as_list(statement["Action"])
            if name == "FunctionRole"
        }

        needed = {*PERMISSIONS.values(), "s3:PutObject"} - {"s3:ListBucketMultipartUploads"}
        assert needed - actions == (set() if "CopyTags" in given else {"s3:GetObjectTagging"})

    def test_cloudsplaining_finds_no_fault(self, given: dict[str, str]) -> None:
        documents = roles(deploy(**given))

        assert len(documents) == 4 + ("GatherTable" in given) * 3 + ("SubnetIds" in given)
        for name, document in documents.items():
            policy = PolicyDocument(document)
            assert {fault: found for fault in FAULTS if (found := getattr(policy, fault))} == {}, name

    @pytest.mark.slow
    def test_cfn_lint_knows_every_action_and_its_kind_of_resource(
        self, given: dict[str, str], findings: dict[str, str]
    ) -> None:
        [name] = [name for name, each in STACKS.items() if each == given]
        assert findings[name] == ""

    def test_only_tracing_and_vpc_statements_cover_all_resources(self, given: dict[str, str]) -> None:
        anything = {
            statement["Sid"]
            for _, statement in statements(deploy(**given))
            if "*" in as_list(statement["Resource"])
        }

        assert anything == {"WriteTraces"} | ({"ConnectToVpc"} if "SubnetIds" in given else set())

    def test_no_allowed_action_has_a_wildcard(self, given: dict[str, str]) -> None:
        for _, statement in statements(deploy(**given)):
            assert statement["Effect"] == "Deny" or "*" not in "".join(as_list(statement["Action"]))

    def test_a_principal_is_a_service_of_aws(self, given: dict[str, str]) -> None:
        stack = deploy(**given)
        trusted = {
            name: [(s["Principal"], s["Action"]) for s in role["AssumeRolePolicyDocument"]["Statement"]]
            for name, role in stack.of_type("AWS::IAM::Role").items()
        }

        by_lambda = [({"Service": "lambda.amazonaws.com"}, "sts:AssumeRole")]
        assert trusted == {
            "FunctionRole": by_lambda,
            "ManyFilesRole": [({"Service": "states.amazonaws.com"}, "sts:AssumeRole")],
            **({"GatherRole": by_lambda} if "GatherTable" in given else {}),
        }
        assert not any("ManagedPolicyArns" in role for role in stack.of_type("AWS::IAM::Role").values())

    def test_functions_and_state_machine_have_the_roles_of_the_stack(self, given: dict[str, str]) -> None:
        stack = deploy(**given)

        assert {name: short(each["Role"]) for name, each in stack.functions.items()} == {
            name: "role/GatherRole" if name.startswith("Web") else "role/FunctionRole" for name in stack.names
        }
        assert short(stack["ManyFiles"]["RoleArn"]) == "role/ManyFilesRole"
        assert [short(name) for name in stack["ManyFilesPolicy"]["Roles"]] == ["ManyFilesRole"]


def documents_of(given: dict[str, str]) -> dict[str, Any]:
    """Return all resources of a stack that have a policy, with all CloudFormation functions filled in."""
    kinds = ("AWS::IAM::Role", "AWS::IAM::Policy", "AWS::SQS::QueuePolicy", "AWS::S3::BucketPolicy")
    return {name: r for name, r in deploy(**given).resources.items() if r["Type"] in kinds}


WRONG: dict[str, dict[str, str]] = {
    "W3037": {"Action": "states:RedriveRun"},
    "I3510": {"Resource": "arn:aws:s3:::a/*"},
}


@pytest.fixture(scope="module")
def findings(
    run: Callable[..., str], tools: Path, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, str]:
    """Return cfn-lint's findings for the policies of each stack, and of a stack with each wrong statement.

    One process reads them all, because its start takes two seconds.
    """
    directory = tmp_path_factory.mktemp("policies")
    documents = {name: documents_of(given) for name, given in STACKS.items()}
    for told, change in WRONG.items():
        documents[told] = json.loads(json.dumps(documents_of(NAMED)))
        documents[told]["ManyFilesPolicy"]["Properties"]["PolicyDocument"]["Statement"][0] |= change
    paths = {name: directory / f"{number}.json" for number, name in enumerate(documents)}
    for name, resources in documents.items():
        paths[name].write_text(json.dumps({"Resources": resources}))
    listed = " ".join(map(str, paths.values()))
    command = f"{tools / 'cfn-lint'} --format parseable --include-checks I --template {listed} || true"
    lines = run("sh", "-c", command).splitlines()
    assert [line for line in lines if not line.startswith(f"{directory}/")] == []
    return {
        name: "".join(line for line in lines if line.startswith(f"{path}:")) for name, path in paths.items()
    }


@pytest.mark.slow
@pytest.mark.parametrize("told", WRONG)
def test_cfn_lint_would_tell(findings: dict[str, str], told: str) -> None:
    assert told in findings[told]


class TestConditions:
    def test_a_missing_object_is_told_from_a_forbidden_one(self) -> None:
        # S3 answers a GET with 404 only if ListBucket is allowed. For a GET, s3:prefix has no value.
        assert self.of(deploy(**NAMED), "ListSource") is None

    def test_network_cards_are_lambdas_to_make_and_not_the_functions(self) -> None:
        # Lambda sets the key in requests that a function's own code makes (Lambda developer guide).
        assert self.of(deploy(**GATHERING), "ConnectToVpc") == {"Null": {"lambda:SourceFunctionArn": "true"}}

    @staticmethod
    def of(stack: Stack, sid: str) -> Any:
        (statement,) = [each for _, each in statements(stack) if each["Sid"] == sid]
        return statement.get("Condition")
