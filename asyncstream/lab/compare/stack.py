"""Reads a deployed stack of `deploy/template.yaml` for a comparison."""

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from typing import Any

import boto3
from msgspec import Struct

from asyncstream.errors import AsyncstreamError, InputError
from asyncstream.lab.compare.functions import RUN_VARIABLE
from asyncstream.lab.compare.sdk_errors import one_line_errors
from asyncstream.lab.compare.variants import Variant
from asyncstream.locations import S3Prefix
from asyncstream.prices import Architecture

# In other states the stack is changing or its creation failed, so its functions may be missing.
READY = ("CREATE_COMPLETE", "UPDATE_COMPLETE", "UPDATE_ROLLBACK_COMPLETE", "IMPORT_COMPLETE")


class DeployedFunction(Struct, frozen=True, kw_only=True):
    """A function as it was configured before the comparison.

    Attributes:
        arn: the function's ARN.
        memory_mb, timeout: its memory in MB, and its time limit in seconds.
        environment: its environment variables.
        architecture: arm64 or x86_64.
        runtime: such as python3.13.
        traced: whether Lambda sends its traces to X-Ray (active tracing).
        log_group: the name of its log group.
    """

    arn: str
    memory_mb: int
    timeout: int
    environment: Mapping[str, str]
    architecture: Architecture
    runtime: str
    traced: bool
    log_group: str


class Stack(Struct, frozen=True, kw_only=True):
    """The stack's data for a comparison.

    Attributes:
        tls: whether requests to S3 use TLS, as on AWS.
        functions: its functions by the names of their variants.
    """

    name: str
    region: str
    tls: bool
    source: S3Prefix
    destination: S3Prefix
    functions: Mapping[str, DeployedFunction]


def read_stack(name: str, variants: Sequence[Variant]) -> Stack:
    """Read the stack with this name in boto3's region.

    Raises:
        InputError: the stack does not exist, is not one of the template, or its trigger would invoke a
        function. AsyncstreamError: AWS cannot be reached, or refused a request.
    """
    with one_line_errors(AsyncstreamError, f"the stack {name} cannot be read"), ExitStack() as closing:
        formation, lambda_, s3 = (boto3.client(each) for each in ("cloudformation", "lambda", "s3"))
        for client in (formation, lambda_, s3):
            closing.callback(client.close)
        outputs = _outputs(name, _describe_stack(formation, name))
        places = {
            kind: S3Prefix.from_uri(_output(name, outputs, f"{kind}Uri"))
            for kind in ("Source", "Destination")
        }
        _check_trigger(places["Source"], outputs.get("TriggerUri"))
        return Stack(
            name=name,
            region=formation.meta.region_name,
            tls=s3.meta.endpoint_url.startswith("https:"),
            source=places["Source"],
            destination=places["Destination"],
            functions={
                variant.way.name: _function(lambda_, _output(name, outputs, variant.output or ""))
                for variant in variants
            },
        )


def _describe_stack(formation: Any, name: str) -> dict[str, Any]:
    try:
        found: dict[str, Any] = formation.describe_stacks(StackName=name)["Stacks"][0]
    except formation.exceptions.ClientError as error:
        if error.response["Error"]["Code"] != "ValidationError":  # the code for a missing stack
            raise
        region = formation.meta.region_name
        raise InputError(f"--stack {name}: the stack does not exist in {region}: {error}") from error
    return found


def _outputs(name: str, described: Mapping[str, Any]) -> dict[str, str]:
    status = described["StackStatus"]
    if status not in READY:
        raise InputError(f"--stack {name}: the stack is in {status}: compare when it is complete")
    return {output["OutputKey"]: output["OutputValue"] for output in described.get("Outputs", ())}


def _output(name: str, outputs: Mapping[str, str], key: str) -> str:
    if key not in outputs:
        raise InputError(
            f"--stack {name}: the stack has no output {key}: deploy this version's deploy/template.yaml"
        )
    return outputs[key]


def _check_trigger(source: S3Prefix, trigger: str | None) -> None:
    """Refuse a source prefix where each new object invokes a function."""
    if trigger is not None and source.uri.startswith(trigger):
        raise InputError(
            f"new objects under {trigger} invoke a function, so the comparison cannot put files into "
            f"{source}: deploy with Trigger=no, or with another TriggerPrefix"
        )


def _function(lambda_: Any, arn: str) -> DeployedFunction:
    reply = lambda_.get_function_configuration(FunctionName=arn)
    environment = reply.get("Environment", {})
    if "Error" in environment:
        problem = environment["Error"].get("Message", "?")
        raise InputError(f"the variables of {arn} cannot be read, so they could not be restored: {problem}")
    variables = dict(environment.get("Variables", {}))
    # A killed comparison left this variable. Its value has the size before that comparison.
    left = variables.pop(RUN_VARIABLE, None)
    return DeployedFunction(
        arn=arn,
        memory_mb=reply["MemorySize"] if left is None else size_before(left),
        timeout=reply["Timeout"],
        environment=variables,
        architecture=reply["Architectures"][0],
        runtime=reply["Runtime"],
        traced=reply.get("TracingConfig", {}).get("Mode") == "Active",
        log_group=reply["LoggingConfig"]["LogGroup"],
    )


def run_mark(run: int, memory_mb: int) -> str:
    """Return the value of `RUN_VARIABLE` for a run of a function with this original size."""
    return f"{run} of {memory_mb} MB"


def size_before(mark: str) -> int:
    """Return the original size in MB from a `run_mark`."""
    return int(mark.split()[2])
