"""Fill in `deploy/template.yaml` as CloudFormation does: decide its conditions and evaluate its functions.

SAM's own translator expands the template first, so `Globals` and what SAM adds are included. Values that only
AWS knows, such as ARNs, are made up in the format of the real ones.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from samtranslator.translator.transform import transform
from samtranslator.yaml_helper import yaml_parse

TEMPLATE = Path(__file__).parents[2] / "deploy" / "template.yaml"
FUNCTIONS = {
    "Sequential": "SequentialFunction",
    "Threads": "ThreadsFunction",
    "ThreadsMultipart": "ThreadsMultipartFunction",
    "AsyncioMultipart": "AsyncioMultipartFunction",
}
GATHERERS = {
    "WebSequential": "WebSequentialFunction",
    "WebThreads": "WebThreadsFunction",
    "WebAsyncio": "WebAsyncioFunction",
}
SECRET = "arn:aws:secretsmanager:eu-central-1:123456789012:secret:rds!db-1234-AbCdEf"
# The parameters that create the functions that gather pages.
GATHERS = {
    "GatherTable": "prices",
    "GatherKey": "sku",
    "GatherRows": "handlers.mine:prices",
    "GatherUrls": "s3://lists/today.txt",
    "DatabaseSecretArn": SECRET,
    "DatabaseHost": "db.example.com",
}
IN_VPC = {"SubnetIds": "subnet-0a1,subnet-0b2", "SecurityGroupIds": "sg-0c3"}
PSEUDO = {
    "AWS::Partition": "aws",
    "AWS::Region": "eu-central-1",
    "AWS::AccountId": "123456789012",
    "AWS::StackName": "asyncstream",
}
_REGIONAL = "arn:aws:{service}:eu-central-1:123456789012:{rest}"
ARNS = {
    "AWS::Lambda::Function": _REGIONAL.format(service="lambda", rest="function:{name}"),
    "AWS::Lambda::LayerVersion": _REGIONAL.format(service="lambda", rest="layer:{name}:1"),
    "AWS::IAM::Role": "arn:aws:iam::123456789012:role/{name}",
    "AWS::SQS::Queue": _REGIONAL.format(service="sqs", rest="{name}"),
    "AWS::Logs::LogGroup": _REGIONAL.format(service="logs", rest="log-group:{name}:*"),
    "AWS::Events::Rule": _REGIONAL.format(service="events", rest="rule/{name}"),
    "AWS::StepFunctions::StateMachine": _REGIONAL.format(service="states", rest="stateMachine:{name}"),
    "AWS::S3::Bucket": "arn:aws:s3:::{name}",
}
# `Ref` returns a name, except for these types, whose ARN it returns.
REF_IS_ARN = {"AWS::Lambda::LayerVersion", "AWS::StepFunctions::StateMachine"}
_NOTHING = object()


@cache
def written() -> dict[str, Any]:
    """Return the template before CloudFormation fills it in."""
    return dict(yaml_parse(TEMPLATE.read_text()))


def defaults() -> dict[str, Any]:
    return {name: parameter["Default"] for name, parameter in written()["Parameters"].items()}


class _NoManagedPolicies:
    """An empty stand-in for AWS's managed policies. The template needs none, and loading would ask IAM."""

    def load(self) -> dict[str, str]:
        return {}


def _expanded(parameters: Mapping[str, Any]) -> dict[str, Any]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AWS_DEFAULT_REGION", PSEUDO["AWS::Region"])
        # The translator requires the code to be where `sam deploy` uploads it.
        text = re.sub(
            r"(CodeUri|ContentUri): \.$", r"\1: s3://bucket/key", TEMPLATE.read_text(), flags=re.MULTILINE
        )
        return dict(transform(yaml_parse(text), dict(parameters), _NoManagedPolicies()))


@dataclass(frozen=True)
class Stack:
    """A deployed stack.

    Attributes:
        resources: resources with `Type` and `Properties`, by logical id.
        outputs: values by name.
        refusals: errors that the template's `Rules` report for the parameters.
    """

    resources: dict[str, dict[str, Any]]
    outputs: dict[str, Any]
    refusals: list[str]

    def __getitem__(self, name: str) -> dict[str, Any]:
        """Return a resource's properties."""
        return dict(self.resources[name]["Properties"])

    def of_type(self, kind: str) -> dict[str, Any]:
        """Return the properties of all resources of a type, by logical id."""
        return {name: self[name] for name, resource in self.resources.items() if resource["Type"] == kind}

    @property
    def functions(self) -> dict[str, Any]:
        return self.of_type("AWS::Lambda::Function")

    @property
    def names(self) -> dict[str, str]:
        """The functions' names, by logical id."""
        return {name: _name(name, "AWS::Lambda::Function") for name in self.functions}


def deploy(**given: Any) -> Stack:
    """Return the stack for these parameters; the others have their defaults."""
    return _deploy(tuple(sorted(given.items())))


@cache
def _deploy(given: tuple[tuple[str, Any], ...]) -> Stack:
    parameters = defaults() | dict(given)
    assert parameters.keys() == defaults().keys(), "The template does not have such a parameter."
    template = _expanded(parameters)
    types = {name: resource["Type"] for name, resource in template["Resources"].items()}
    filled = _Filled(parameters, template.get("Conditions", {}), types)
    return Stack(
        {
            name: {"Type": resource["Type"], "Properties": filled(resource.get("Properties", {}))}
            for name, resource in template["Resources"].items()
            if filled.holds(resource)
        },
        {name: filled(out["Value"]) for name, out in template["Outputs"].items() if filled.holds(out)},
        [
            each["AssertDescription"]
            for rule in template.get("Rules", {}).values()
            if filled(rule["RuleCondition"])
            for each in rule["Assertions"]
            if not filled(each["Assert"])
        ],
    )


def _name(logical: str, kind: str) -> str:
    """Return a resource's name: the stack's name, the logical id, and CloudFormation's suffix."""
    name = f"asyncstream-{logical}-1ABCDEF"
    return name.lower() if kind == "AWS::S3::Bucket" else name


# Functions that only use the values of their arguments.
_OF_VALUES: dict[str, Callable[..., Any]] = {
    "And": lambda *values: all(values),
    "Equals": lambda one, other: str(one) == str(other),
    "Join": lambda between, parts: between.join(map(str, parts)),
    "Not": lambda value: not value,
    "Or": lambda *values: any(values),
    "Select": lambda number, parts: parts[int(number)],
    "Split": lambda between, text: text.split(between),
}


@dataclass(frozen=True)
class _Filled:
    """Fills in the CloudFormation functions in any part of a template."""

    parameters: Mapping[str, Any]
    conditions: Mapping[str, Any]
    types: Mapping[str, str]

    def holds(self, entry: Mapping[str, Any]) -> bool:
        return "Condition" not in entry or bool(self(self.conditions[entry["Condition"]]))

    def __call__(self, value: Any) -> Any:
        if isinstance(value, list):
            return [each for each in map(self, value) if each is not _NOTHING]
        if not isinstance(value, dict):
            return value
        if len(value) == 1:
            ((function, argument),) = value.items()
            if function == "Condition" and isinstance(argument, str):
                return self(self.conditions[argument])
            if function == "Ref" or function.startswith("Fn::"):
                return self._call(function.removeprefix("Fn::"), argument)
        filled = {name: self(each) for name, each in value.items()}
        return {name: each for name, each in filled.items() if each is not _NOTHING}

    def _call(self, function: str, argument: Any) -> Any:
        match function:
            case "Ref":
                return self._ref(argument)
            case "GetAtt":
                return self._attribute(*(argument.split(".", 1) if isinstance(argument, str) else argument))
            case "Sub":
                return self._substituted(*(argument if isinstance(argument, list) else (argument, {})))
            case "If":
                name, then, otherwise = argument
                return self(then if self(self.conditions[name]) else otherwise)
        assert function in _OF_VALUES, f"This test double does not implement Fn::{function}."
        return _OF_VALUES[function](*self(argument))

    def _ref(self, name: str) -> Any:
        if name == "AWS::NoValue":
            return _NOTHING
        if name in self.types:
            kind = self.types[name]
            return ARNS[kind].format(name=_name(name, kind)) if kind in REF_IS_ARN else _name(name, kind)
        if name in PSEUDO:
            return PSEUDO[name]
        given = self.parameters[name]
        is_list = written()["Parameters"][name]["Type"] == "CommaDelimitedList"
        return str(given).split(",") if is_list else given

    def _attribute(self, name: str, attribute: str) -> str:
        kind = self.types[name]
        if attribute == "Arn":
            return ARNS[kind].format(name=_name(name, kind))
        assert attribute in ("Name", "QueueName"), attribute
        return _name(name, kind)

    def _substituted(self, text: str, own: Mapping[str, Any]) -> str:
        def value(found: re.Match[str]) -> str:
            name = found[1]
            if name in own:
                return str(self(own[name]))
            return str(self._attribute(*name.split(".")) if "." in name else self._ref(name))

        return re.sub(r"\$\{([^}]+)\}", value, text)
