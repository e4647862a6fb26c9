"""`deploy/template.yaml`: what linters say, and what matters that they do not check.

The facts are read from the template as SAM expands it, so that `Globals` and what SAM adds count.
"""

import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from samtranslator.translator.transform import transform
from samtranslator.yaml_helper import yaml_parse

from asyncstream import plan
from asyncstream.config import ENV_PREFIX, TransferConfig
from asyncstream.events import direct
from asyncstream.locations import S3Object

HANDLERS = {
    "SequentialFunction": "sequential",
    "ThreadsFunction": "threads",
    "ThreadsMultipartFunction": "threads_multipart",
    "AsyncioMultipartFunction": "asyncio_multipart",
}
BUCKETS = ["SourceBucket", "DestinationBucket"]


class _NoManagedPolicies:
    """The translator would ask IAM for AWS's own policies: the template is to need none."""

    def load(self) -> dict[str, str]:
        return {}


@pytest.fixture(scope="module")
def written(template: Path) -> dict[str, Any]:
    return yaml_parse(template.read_text())


@pytest.fixture(scope="module")
def parameters(written: dict[str, Any]) -> dict[str, Any]:
    return written["Parameters"]


@pytest.fixture(scope="module")
def resources(template: Path, parameters: dict[str, Any]) -> dict[str, Any]:
    """The resources as CloudFormation gets them."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AWS_DEFAULT_REGION", "eu-central-1")
        # The translator wants code where `sam deploy` puts it.
        text = re.sub(
            r"(CodeUri|ContentUri): \.$", r"\1: s3://bucket/key", template.read_text(), flags=re.MULTILINE
        )
        defaults = {name: parameter["Default"] for name, parameter in parameters.items()}
        return transform(yaml_parse(text), defaults, _NoManagedPolicies())["Resources"]


def of_type(resources: dict[str, Any], kind: str) -> dict[str, Any]:
    return {name: r["Properties"] for name, r in resources.items() if r["Type"] == kind}


def functions(resources: dict[str, Any]) -> dict[str, Any]:
    return of_type(resources, "AWS::Lambda::Function")


def role_statements(resources: dict[str, Any]) -> dict[str, dict[str, Any]]:
    (role,) = of_type(resources, "AWS::IAM::Role").values()
    return {s["Sid"]: s for policy in role["Policies"] for s in policy["PolicyDocument"]["Statement"]}


def as_list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def environments(
    resources: dict[str, Any], parameters: dict[str, Any], field: str
) -> Iterator[dict[str, str]]:
    """Each function's environment with one field of every parameter, by default its `Default`, put in."""
    for function in functions(resources).values():
        found = {}
        for name, value in function["Environment"]["Variables"].items():
            parameter = parameters[value["Ref"]]
            found[name] = str(parameter.get(field, parameter["Default"]))
        yield found


@pytest.mark.slow
def test_sam_finds_the_template_valid(
    run: Callable[..., str], sam: Path, template: Path, tmp_path: Path
) -> None:
    assert "is a valid SAM Template" in run(sam, "validate", "--lint", "-t", template, cwd=tmp_path)


@pytest.mark.slow
def test_cfn_lint_has_nothing_to_say(run: Callable[..., str], tools: Path, template: Path) -> None:
    assert run(tools / "cfn-lint", "--include-checks", "I", "--template", template) == ""


def test_each_way_has_its_function(resources: dict[str, Any], root: Path) -> None:
    found = {name: function["Handler"] for name, function in functions(resources).items()}

    assert found == {name: f"handlers.{module}.handler" for name, module in HANDLERS.items()}
    assert all((root / "handlers" / f"{module}.py").is_file() for module in HANDLERS.values())


def test_every_function_is_traced_and_logs_to_the_group_that_forgets(resources: dict[str, Any]) -> None:
    ((group, properties),) = of_type(resources, "AWS::Logs::LogGroup").items()

    assert properties["RetentionInDays"] == {"Ref": "LogRetentionDays"}
    for function in functions(resources).values():
        assert function["TracingConfig"] == {"Mode": "Active"}
        assert function["LoggingConfig"] == {"LogGroup": {"Ref": group}}


def test_the_runtime_is_the_one_the_layer_is_built_for(
    resources: dict[str, Any], parameters: dict[str, Any], root: Path
) -> None:
    built_for = re.search(
        r"^PYTHON_VERSION := (.+)$", (root / "deploy" / "Makefile").read_text(), re.MULTILINE
    )

    assert built_for
    assert parameters["Runtime"]["AllowedValues"] == [f"python{built_for[1]}"]
    assert parameters["Runtime"]["Default"] in parameters["Runtime"]["AllowedValues"]
    for function in functions(resources).values():
        # The translator puts in the default of what it looks at itself.
        assert function["Runtime"] in ({"Ref": "Runtime"}, parameters["Runtime"]["Default"])


def test_every_architecture_that_may_be_chosen_can_be_built(parameters: dict[str, Any], root: Path) -> None:
    assert parameters["Architecture"]["Default"] == "arm64"
    for architecture in parameters["Architecture"]["AllowedValues"]:
        assert (root / "deploy" / architecture / "Makefile").is_file()


def test_every_parameter_is_described_and_constrained(parameters: dict[str, Any]) -> None:
    for name, parameter in parameters.items():
        assert parameter["Description"].endswith("."), name
        assert {"AllowedValues", "AllowedPattern", "MinValue"} & parameter.keys(), name
        assert ("MinValue" in parameter) == ("MaxValue" in parameter), name


@pytest.mark.parametrize("field", ["Default", "MinValue", "MaxValue"])
def test_the_package_reads_every_variable(
    resources: dict[str, Any], parameters: dict[str, Any], field: str
) -> None:
    for environment in environments(resources, parameters, field):
        assert all(name.startswith(ENV_PREFIX) for name in environment)
        # It refuses names that it does not know and values outside its limits.
        assert TransferConfig.from_env(environment).memory_limit is None


@pytest.mark.parametrize(
    ("text", "fits"),
    [
        ("auto", True),
        (str(plan.MIN_PART), True),
        (str(plan.MAX_PART), True),
        ("", False),
        ("8MB", False),
        ("0", False),
        ("auto5", False),
    ],
)
def test_part_size_takes_what_the_package_takes(parameters: dict[str, Any], text: str, fits: bool) -> None:
    assert bool(re.fullmatch(parameters["PartSize"]["AllowedPattern"], text)) is fits
    if fits:
        TransferConfig.from_env({f"{ENV_PREFIX}PART_SIZE": text})


@pytest.mark.parametrize("name", BUCKETS)
def test_buckets_are_encrypted_closed_and_swept(resources: dict[str, Any], name: str) -> None:
    bucket = of_type(resources, "AWS::S3::Bucket")[name]
    (encryption,) = bucket["BucketEncryption"]["ServerSideEncryptionConfiguration"]
    (rule,) = bucket["LifecycleConfiguration"]["Rules"]

    assert encryption == {"ServerSideEncryptionByDefault": {"SSEAlgorithm": "AES256"}}
    assert bucket["PublicAccessBlockConfiguration"] == {
        "BlockPublicAcls": True,
        "BlockPublicPolicy": True,
        "IgnorePublicAcls": True,
        "RestrictPublicBuckets": True,
    }
    assert rule["Status"] == "Enabled"
    assert rule["AbortIncompleteMultipartUpload"] == {"DaysAfterInitiation": 1}
    assert "Prefix" not in rule


@pytest.mark.parametrize("name", BUCKETS)
def test_buckets_refuse_requests_without_tls(resources: dict[str, Any], name: str) -> None:
    policies = of_type(resources, "AWS::S3::BucketPolicy").values()
    (policy,) = [policy for policy in policies if policy["Bucket"] == {"Ref": name}]
    (statement,) = policy["PolicyDocument"]["Statement"]

    assert statement["Effect"] == "Deny"
    assert statement["Principal"] == "*"
    assert statement["Action"] == "s3:*"
    assert statement["Condition"] == {"Bool": {"aws:SecureTransport": "false"}}
    assert statement["Resource"] == [{"Fn::GetAtt": [name, "Arn"]}, {"Fn::Sub": f"${{{name}.Arn}}/*"}]


def test_functions_have_one_role_and_no_policy_of_aws(resources: dict[str, Any]) -> None:
    ((name, role),) = of_type(resources, "AWS::IAM::Role").items()

    assert "ManagedPolicyArns" not in role
    for function in functions(resources).values():
        assert function["Role"] == {"Fn::GetAtt": [name, "Arn"]}


def test_the_role_allows_what_the_work_needs(resources: dict[str, Any]) -> None:
    allowed = {
        sid: (set(as_list(s["Action"])), s["Resource"]) for sid, s in role_statements(resources).items()
    }

    assert allowed == {
        "ReadSource": ({"s3:GetObject", "s3:GetObjectVersion"}, {"Fn::Sub": "${SourceBucket.Arn}/*"}),
        "ListSource": ({"s3:ListBucket"}, {"Fn::GetAtt": ["SourceBucket", "Arn"]}),
        "WriteDestination": (
            {"s3:PutObject", "s3:AbortMultipartUpload"},
            {"Fn::Sub": "${DestinationBucket.Arn}/*"},
        ),
        "WriteLogs": ({"logs:CreateLogStream", "logs:PutLogEvents"}, {"Fn::GetAtt": ["LogGroup", "Arn"]}),
        "WriteTraces": ({"xray:PutTraceSegments", "xray:PutTelemetryRecords"}, "*"),
    }


def test_nothing_is_allowed_by_a_wildcard(resources: dict[str, Any]) -> None:
    for sid, statement in role_statements(resources).items():
        assert statement["Effect"] == "Allow"
        assert not any("*" in action for action in as_list(statement["Action"])), sid
        # X-Ray's two actions are on no resource.
        assert statement["Resource"] != "*" or sid == "WriteTraces"


def test_outputs_name_what_was_deployed(written: dict[str, Any]) -> None:
    values = [output["Value"] for output in written["Outputs"].values()]

    assert all(output["Description"] for output in written["Outputs"].values())
    assert all({"Fn::GetAtt": [name, "Arn"]} in values for name in HANDLERS)
    assert all({"Ref": name} in values for name in [*BUCKETS, "LogGroup"])


@pytest.mark.parametrize(("name", "pairs"), [("direct.json", 2), ("prefix.json", 1)])
def test_sample_events_are_what_the_handlers_read(root: Path, name: str, pairs: int) -> None:
    sample = json.loads((root / "deploy" / "events" / name).read_text())
    event = direct.read_event(sample)

    assert len(direct.pairs_of(event)) == pairs
    assert direct.named_settings(sample, event) == {"max_concurrency": 10}
    assert event.report_uri is None or S3Object.from_uri(event.report_uri)
