"""`deploy/template.yaml`: the linters' findings, and its functions, parameters and outputs.

The other `test_deploy_*.py` check its buckets, triggers, alarms and permissions.
"""

import json
import re
import tomllib
from collections.abc import Callable, Iterator
from itertools import product
from pathlib import Path
from typing import Any

import botocore
import pytest
from botocore.loaders import Loader
from packaging.version import Version

from asyncstream.deadline import LONGEST_INVOCATION
from asyncstream.events import direct, run_input
from asyncstream.events.deployment import DESTINATION, SOURCE, TRANSFORMS, TRIGGER, Deployment
from asyncstream.events.reading import read
from asyncstream.events.run_input import RunInput
from asyncstream.locations import S3Object, S3Prefix
from asyncstream.pipeline import plan
from asyncstream.pipeline.config import ENV_PREFIX, TransferConfig

from .cloudformation import FUNCTIONS, defaults, deploy, written
from .sam_builds import RUNTIMES

HANDLERS = {
    "SequentialFunction": "sequential",
    "ThreadsFunction": "threads",
    "ThreadsMultipartFunction": "threads_multipart",
    "AsyncioMultipartFunction": "asyncio_multipart",
}
PARAMETERS = written()["Parameters"]
PREFIXES = ["SourcePrefix", "DestinationPrefix", "TriggerPrefix"]
BUCKET_NAMES = ["SourceBucketName", "DestinationBucketName"]
# Texts with a special meaning in a variable or in a policy's resource.
UNFIT = ["*/", "a*/", "a?/", "${aws:username}/", "$/", 'a"/', "a,b/", "a b/", "o'brien/"]


def extremes(field: str) -> dict[str, Any]:
    """Return each parameter's smallest or largest value, if it has one."""
    return {name: parameter[field] for name, parameter in PARAMETERS.items() if field in parameter}


def environments(**given: Any) -> Iterator[dict[str, str]]:
    """Yield the variables of each function."""
    for function in deploy(**given).functions.values():
        yield {name: str(value) for name, value in function["Environment"]["Variables"].items()}


@pytest.mark.slow
def test_sam_finds_the_template_valid(
    run: Callable[..., str], sam: Path, template: Path, tmp_path: Path
) -> None:
    assert "is a valid SAM Template" in run(sam, "validate", "--lint", "-t", template, cwd=tmp_path)


@pytest.mark.slow
def test_cfn_lint_has_nothing_to_say(run: Callable[..., str], tools: Path, template: Path) -> None:
    assert run(tools / "cfn-lint", "--include-checks", "I", "--template", template) == ""


class TestFunctions:
    def test_each_way_has_its_own(self, root: Path) -> None:
        found = {name: function["Handler"] for name, function in deploy().functions.items()}

        assert found == {name: f"handlers.{module}.handler" for name, module in HANDLERS.items()}
        assert all((root / "handlers" / f"{module}.py").is_file() for module in HANDLERS.values())

    @pytest.mark.parametrize("variant", FUNCTIONS)
    def test_memory_is_each_ones_own(self, variant: str) -> None:
        functions = deploy(**{f"{variant}Memory": 1769}).functions
        sizes = {name: function["MemorySize"] for name, function in functions.items()}

        assert sizes == dict.fromkeys(HANDLERS, 512) | {FUNCTIONS[variant]: 1769}

    def test_what_all_share_comes_from_the_parameters(self) -> None:
        for function in deploy(Timeout=60, Architecture="x86_64", LogFormat="JSON").functions.values():
            assert (function["Timeout"], function["Architectures"]) == (60, ["x86_64"])
            assert function["LoggingConfig"]["LogFormat"] == "JSON"
            assert function["TracingConfig"] == {"Mode": "Active"}

    def test_all_log_to_the_one_group_that_forgets(self) -> None:
        stack = deploy(LogRetentionDays=30)

        assert stack["LogGroup"]["RetentionInDays"] == 30
        assert {each["LoggingConfig"]["LogGroup"] for each in stack.functions.values()} == {
            stack.outputs["LogGroupName"]
        }

    def test_events_that_fail_go_to_the_dead_letter_queue(self) -> None:
        stack = deploy()

        assert stack["DeadLetterQueue"]["MessageRetentionPeriod"] == 14 * 24 * 3600
        for function in stack.functions.values():
            assert function["DeadLetterConfig"]["TargetArn"].endswith(stack.outputs["DeadLetterQueueUrl"])

    def test_functions_run_on_the_newest_runtime(self) -> None:
        assert PARAMETERS["Runtime"]["AllowedValues"] == list(RUNTIMES)
        assert {function["Runtime"] for function in deploy().functions.values()} == {RUNTIMES[-1]}

    def test_each_runtime_has_a_makefile_for_each_architecture(self, root: Path) -> None:
        machines = {"arm64": "aarch64", "x86_64": "x86_64"}
        assert PARAMETERS["Architecture"]["Default"] == "arm64"
        for runtime, architecture in product(RUNTIMES, PARAMETERS["Architecture"]["AllowedValues"]):
            makefile = (root / "deploy" / runtime / architecture / "Makefile").read_text()
            assert f"PYTHON_VERSION := {runtime.removeprefix('python')}\n" in makefile
            assert f"MACHINE := {machines[architecture]}\n" in makefile


class TestVariables:
    @pytest.mark.parametrize("field", ["Default", "MinValue", "MaxValue"])
    def test_the_package_takes_them(self, field: str) -> None:
        for variables in environments(**extremes(field)):
            own = {name: value for name, value in variables.items() if name.startswith(ENV_PREFIX)}
            assert own
            # It refuses unknown names and values outside its limits.
            assert TransferConfig.from_env(own).memory_limit is None
            assert variables.keys() - own.keys() == {SOURCE, DESTINATION, TRIGGER, TRANSFORMS}

    @pytest.mark.parametrize(("given", "copies"), [("yes", True), ("no", False)])
    def test_functions_copy_tags_if_the_stack_says_so(self, given: str, copies: bool) -> None:
        for variables in environments(CopyTags=given):
            own = {name: value for name, value in variables.items() if name.startswith(ENV_PREFIX)}
            assert TransferConfig.from_env(own).copy_tags is copies

    @pytest.mark.parametrize(("given", "unpacks"), [("zip", True), ("", False)])
    def test_functions_unpack_archives_if_the_stack_says_so(self, given: str, unpacks: bool) -> None:
        for variables in environments(Unpack=given):
            assert Deployment.from_env(variables).unpack is unpacks

    def test_a_function_is_told_what_it_may_touch(self) -> None:
        given = {
            "SourceBucketName": "raw-1",
            "SourcePrefix": "in/",
            "DestinationBucketName": "clean-1",
            "DestinationPrefix": "out/",
            "Trigger": "yes",
            "TriggerPrefix": "in/new/",
            "Transform": "gzip",
            "EventTransforms": "handlers.mine:clean,handlers.mine:rows",
        }
        source, destination = S3Prefix("raw-1", "in/"), S3Prefix("clean-1", "out/")
        named = frozenset({"gzip", "handlers.mine:clean", "handlers.mine:rows"})

        for variables in environments(**given):
            assert Deployment.from_env(variables) == Deployment(
                source, destination, S3Prefix("raw-1", "in/new/"), named
            )
        for variables in environments(**given | {"Trigger": "no"}):
            assert Deployment.from_env(variables) == Deployment(source, destination, None, named)

    def test_of_buckets_that_the_stack_makes_too(self) -> None:
        stack = deploy()
        (source,) = {variables[SOURCE] for variables in environments()}
        (destination,) = {variables[DESTINATION] for variables in environments()}

        assert (source, destination) == (stack.outputs["SourceUri"], stack.outputs["DestinationUri"])
        assert "-sourcebucket-" in source
        assert "-destinationbucket-" in destination


class TestParameters:
    @pytest.mark.parametrize("name", PARAMETERS)
    def test_each_is_described_and_constrained(self, name: str) -> None:
        parameter = PARAMETERS[name]
        limits = {"AllowedValues", "AllowedPattern", "MinValue", "MaxValue"} & parameter.keys()

        assert parameter["Description"].endswith(".")
        assert limits in ({"AllowedValues"}, {"AllowedPattern"}, {"MinValue", "MaxValue"})
        # CloudFormation itself lists allowed values in errors, but does not explain patterns and limits.
        assert ("ConstraintDescription" in parameter) == ("AllowedValues" not in limits)

    @pytest.mark.parametrize("name", PARAMETERS)
    def test_each_default_is_allowed(self, name: str) -> None:
        parameter = PARAMETERS[name]
        default = parameter["Default"]

        assert default in parameter.get("AllowedValues", [default])
        assert re.fullmatch(parameter.get("AllowedPattern", ".*"), str(default))
        if "MinValue" in parameter:
            assert parameter["MinValue"] <= default <= parameter["MaxValue"]

    def test_timeout_ends_where_lambda_ends_functions(self) -> None:
        model = Loader().load_service_model("lambda", "service-2")
        described = model["shapes"]["CreateFunctionRequest"]["members"]["Timeout"]["documentation"]
        [longest] = re.findall(r"maximum allowed value is ([\d,]+) seconds", described)

        assert PARAMETERS["Timeout"]["MaxValue"] == LONGEST_INVOCATION
        if Version(botocore.__version__) >= Version("1.44.8"):  # the version the constant was taken from
            assert int(longest.replace(",", "")) == LONGEST_INVOCATION
        else:
            assert int(longest.replace(",", "")) <= LONGEST_INVOCATION

    def test_the_console_groups_each_once(self) -> None:
        groups = written()["Metadata"]["AWS::CloudFormation::Interface"]["ParameterGroups"]
        grouped = [name for group in groups for name in group["Parameters"]]

        assert sorted(grouped) == sorted(PARAMETERS)
        assert all(group["Label"]["default"] for group in groups)

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
    def test_part_size_takes_what_the_package_takes(self, text: str, fits: bool) -> None:
        assert bool(re.fullmatch(PARAMETERS["PartSize"]["AllowedPattern"], text)) is fits
        if fits:
            TransferConfig.from_env({f"{ENV_PREFIX}PART_SIZE": text})

    @pytest.mark.parametrize(
        ("text", "fits"),
        [
            ("gunzip", True),
            ("gunzip,handlers.mine:Rows.clean,gzip", True),
            ("gunzip, gzip", False),
            ("gunzip,", False),
            (":clean", False),
            ("os.system('x')", False),
        ],
    )
    def test_a_transform_is_told_to_all_functions(self, text: str, fits: bool) -> None:
        assert bool(re.fullmatch(PARAMETERS["Transform"]["AllowedPattern"], text)) is fits
        if fits:
            for variables in environments(Transform=text):
                own = {name: value for name, value in variables.items() if name.startswith(ENV_PREFIX)}
                assert TransferConfig.from_env(own).transform == text

    @pytest.mark.parametrize("name", PREFIXES)
    def test_a_prefix_is_a_folder_and_has_no_wildcard_or_quote(self, name: str) -> None:
        def fits(text: str) -> bool:
            return re.fullmatch(PARAMETERS[name]["AllowedPattern"], text) is not None

        assert all(map(fits, ["", "in/", "a/b-c/2025.10/", "its_(new)!/"]))
        assert not any(map(fits, ["in", "/", "/in/", *UNFIT]))

    @pytest.mark.parametrize("name", BUCKET_NAMES)
    def test_a_bucket_is_named_as_s3_names_it(self, name: str) -> None:
        def fits(text: str) -> bool:
            return re.fullmatch(PARAMETERS[name]["AllowedPattern"], text) is not None

        assert all(map(fits, ["", "abc", "my.bucket-1", "a" * 63]))
        assert not any(map(fits, ["ab", "a" * 64, "Abc", "-abc", "abc-", "a*c", "arn:aws:s3:::abc"]))


class TestOutputs:
    def test_each_is_described(self) -> None:
        assert all(output["Description"].endswith(".") for output in written()["Outputs"].values())

    def test_outputs_name_functions_queues_places_and_logs(self) -> None:
        """They name the state machine, too."""
        stack = deploy(Trigger="yes")

        assert stack.outputs.keys() == {
            *(f"{name}Arn" for name in HANDLERS),
            *("SourceUri", "DestinationUri", "TriggerUri", "QueueUrl", "DeadLetterQueueUrl"),
            *("ManyFilesArn", "LogGroupName"),
        }
        for name, function in stack.names.items():
            assert stack.outputs[f"{name}Arn"].endswith(f":function:{function}")
        assert stack.outputs["TriggerUri"] == f"{stack.outputs['SourceUri']}incoming/"

    def test_a_trigger_that_is_not_there_is_not_named(self) -> None:
        assert deploy(Trigger="yes").outputs.keys() - deploy().outputs.keys() == {"TriggerUri", "QueueUrl"}

    def test_buckets_that_were_named_are_named_again(self) -> None:
        given = {"SourceBucketName": "raw-1", "SourcePrefix": "in/", "DestinationBucketName": "clean-1"}
        outputs = deploy(**given).outputs

        assert (outputs["SourceUri"], outputs["DestinationUri"]) == ("s3://raw-1/in/", "s3://clean-1/")


def test_a_deleted_stack_leaves_nothing_behind() -> None:
    resources = written()["Resources"].values()

    assert {resource.get("DeletionPolicy", "Delete") for resource in resources} == {"Delete"}
    assert written()["Resources"]["DependencyLayer"]["Properties"]["RetentionPolicy"] == "Delete"


@pytest.mark.parametrize(
    ("name", "pairs", "settings"),
    [("direct.json", 2, {}), ("prefix.json", 1, {"max_concurrency": 10}), ("unzip.json", 1, {})],
)
def test_sample_events_are_what_the_handlers_read(
    root: Path, name: str, pairs: int, settings: dict[str, int]
) -> None:
    sample = json.loads((root / "deploy" / "events" / name).read_text())
    event = direct.read_event(sample)

    assert len(direct.event_pairs(event)) == pairs
    assert direct.named_settings(sample, event) == settings
    assert event.report_uri is None or S3Object.from_uri(event.report_uri)


@pytest.mark.parametrize("name", ["many-files", "many-files-inventory", "many-files-again"])
def test_sample_inputs_are_what_the_state_machine_takes(root: Path, name: str) -> None:
    sample = json.loads((root / "deploy" / "events" / f"{name}.json").read_text())
    asked = read(sample, RunInput)

    run_input.check_source(asked)
    if asked.source:
        clean = S3Prefix("destination-bucket", "clean/")
        deployment = Deployment(S3Prefix("source-bucket"), clean, S3Prefix("other"))
        request = run_input.plan_request(asked, sample.get("settings", {}), deployment, TransferConfig())
        assert request.destination.startswith(clean.uri)


def test_samconfig_names_parameters_that_exist(root: Path) -> None:
    environments = tomllib.loads((root / "deploy" / "samconfig.toml").read_text())
    environments.pop("version")

    assert environments.keys() == {"default", "ministack"}
    for environment in environments.values():
        overrides = environment["global"]["parameters"]["parameter_overrides"]
        given = dict(pair.split("=") for pair in overrides.split())
        assert given
        assert given.keys() <= defaults().keys()
