"""A deployed stack of `deploy/template.yaml` as a comparison sees it."""

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from typing import Any

import boto3
from msgspec import Struct

from asyncstream.errors import AsyncstreamError, InputError
from asyncstream.lab.compare.functions import RUN_VARIABLE
from asyncstream.lab.compare.sdk_errors import said_in_one_line
from asyncstream.lab.compare.variants import Variant
from asyncstream.lab.report.prices import Architecture
from asyncstream.locations import S3Prefix

# A stack that is being changed, or that failed to be made, has no functions to rely on.
READY = ("CREATE_COMPLETE", "UPDATE_COMPLETE", "UPDATE_ROLLBACK_COMPLETE", "IMPORT_COMPLETE")


class DeployedFunction(Struct, frozen=True, kw_only=True):
    """A function as it was configured before the comparison.

    Attributes:
        arn: of it.
        memory_mb, timeout: MB and seconds.
        environment: its variables.
        architecture: arm64 or x86_64.
        runtime: such as python3.13.
        traced: whether Lambda sends its traces to X-Ray (active tracing).
        log_group: where it logs.
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
    """What a comparison needs of a stack; `functions` by the names of their ways, `tls`: whether S3 is asked
    over TLS, as AWS's is.
    """

    name: str
    region: str
    tls: bool
    source: S3Prefix
    destination: S3Prefix
    functions: Mapping[str, DeployedFunction]


def read_stack(name: str, variants: Sequence[Variant]) -> Stack:
    """The stack of that name, in boto3's region.

    Raises:
        InputError: there is no such stack, it is not of the template, or comparing would start its trigger.
        AsyncstreamError: AWS cannot be asked, or does not tell.
    """
    with said_in_one_line(AsyncstreamError, f"the stack {name} cannot be read"), ExitStack() as closing:
        formation, lambda_, s3 = (boto3.client(each) for each in ("cloudformation", "lambda", "s3"))
        for client in (formation, lambda_, s3):
            closing.callback(client.close)
        outputs = _outputs(name, _described(formation, name))
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


def _described(formation: Any, name: str) -> dict[str, Any]:
    try:
        found: dict[str, Any] = formation.describe_stacks(StackName=name)["Stacks"][0]
    except formation.exceptions.ClientError as error:
        if error.response["Error"]["Code"] != "ValidationError":  # which is what a missing stack gives
            raise
        region = formation.meta.region_name
        raise InputError(f"--stack {name}: there is no such stack in {region}: {error}") from error
    return found


def _outputs(name: str, described: Mapping[str, Any]) -> dict[str, str]:
    status = described["StackStatus"]
    if status not in READY:
        raise InputError(f"--stack {name}: it is in {status}: compare once it is complete")
    return {output["OutputKey"]: output["OutputValue"] for output in described.get("Outputs", ())}


def _output(name: str, outputs: Mapping[str, str], key: str) -> str:
    if key not in outputs:
        raise InputError(
            f"--stack {name}: it has no output {key}: deploy this version's deploy/template.yaml"
        )
    return outputs[key]


def _check_trigger(source: S3Prefix, trigger: str | None) -> None:
    """Refuse to write sources where each would invoke a function."""
    if trigger is not None and source.uri.startswith(trigger):
        raise InputError(
            f"new objects under {trigger} invoke a function, so files to compare with cannot be put into "
            f"{source}: deploy with Trigger=no, or with another TriggerPrefix"
        )


def _function(lambda_: Any, arn: str) -> DeployedFunction:
    told = lambda_.get_function_configuration(FunctionName=arn)
    environment = told.get("Environment", {})
    if "Error" in environment:
        problem = environment["Error"].get("Message", "?")
        raise InputError(f"the variables of {arn} cannot be read, so not be kept: {problem}")
    variables = dict(environment.get("Variables", {}))
    # Left by a comparison that was killed; it tells the size that the function had before.
    left = variables.pop(RUN_VARIABLE, None)
    return DeployedFunction(
        arn=arn,
        memory_mb=told["MemorySize"] if left is None else size_before(left),
        timeout=told["Timeout"],
        environment=variables,
        architecture=told["Architectures"][0],
        runtime=told["Runtime"],
        traced=told.get("TracingConfig", {}).get("Mode") == "Active",
        log_group=told["LoggingConfig"]["LogGroup"],
    )


def run_mark(run: int, memory_mb: int) -> str:
    """The value of `RUN_VARIABLE` in a function that had that size before the comparison."""
    return f"{run} of {memory_mb} MB"


def size_before(mark: str) -> int:
    """The size that a `run_mark` tells."""
    return int(mark.split()[2])
