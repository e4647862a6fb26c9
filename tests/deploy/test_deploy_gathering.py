"""`deploy/template.yaml`: the functions that gather pages, created only with a table, and their variables."""

import json
import re
from pathlib import Path
from typing import Any

import pytest

from asyncstream.events.deployment import SOURCE, Deployment
from asyncstream.gathering import GatherConfig, Table
from asyncstream.gathering.events import Deployed
from asyncstream.locations import S3Object, S3Prefix

from .cloudformation import GATHERERS, GATHERS, IN_VPC, PSEUDO, SECRET, Stack, deploy, written
from .sam_builds import WEB_FUNCTIONS

PARAMETERS = written()["Parameters"]
BY_IAM = {"DatabaseSecretArn": "", "DatabaseResourceId": "db-ABC123", "DatabaseUser": "writer"}
OF_GATHERING = {
    *GATHERERS.values(),
    *(f"{name}EventInvokeConfig" for name in GATHERERS.values()),
    "GatherRole",
}


def variables(stack: Stack) -> dict[str, str]:
    """Return the variables of the gathering functions, which are the same for all."""
    (found,) = {tuple(stack[name]["Environment"]["Variables"].items()) for name in GATHERERS.values()}
    return {name: str(value) for name, value in found}


class TestMade:
    def test_nothing_of_it_without_a_table(self) -> None:
        made = deploy(**GATHERS).resources.keys() - deploy().resources.keys()

        layers = {name for name in made if name.startswith("DatabaseLayer")}
        assert len(layers) == 1
        assert made - layers == OF_GATHERING

    def test_each_engine_has_its_own(self, root: Path) -> None:
        functions = {name: deploy(**GATHERS)[name] for name in GATHERERS.values()}

        assert {name: each["Handler"] for name, each in functions.items()} == {
            name: f"handlers.{module}.handler" for name, module in WEB_FUNCTIONS.items()
        }
        assert all((root / "handlers" / f"{module}.py").is_file() for module in WEB_FUNCTIONS.values())

    @pytest.mark.parametrize("variant", GATHERERS)
    def test_memory_is_each_ones_own(self, variant: str) -> None:
        stack = deploy(**GATHERS | {f"{variant}Memory": 1769})

        assert {name: stack[name]["MemorySize"] for name in GATHERERS.values()} == dict.fromkeys(
            GATHERERS.values(), 512
        ) | {GATHERERS[variant]: 1769}

    def test_only_gathering_functions_have_the_database_layer(self) -> None:
        for name, function in deploy(**GATHERS).functions.items():
            layers = [re.sub(r".*layer:asyncstream-(\w+?Layer).*", r"\1", arn) for arn in function["Layers"]]
            more = ["DatabaseLayer"] if name in GATHERERS.values() else []
            assert layers == ["DependencyLayer", *more]

    def test_failed_events_are_kept_and_not_retried_by_lambda(self) -> None:
        """They go to the dead letter queue."""
        stack = deploy(**GATHERS)

        for name in GATHERERS.values():
            assert stack[f"{name}EventInvokeConfig"]["MaximumRetryAttempts"] == 0
            assert stack[name]["DeadLetterConfig"]["TargetArn"].endswith(stack.outputs["DeadLetterQueueUrl"])

    def test_they_are_named_among_the_outputs(self) -> None:
        stack = deploy(**GATHERS)

        assert stack.outputs.keys() - deploy().outputs.keys() == {f"{name}Arn" for name in GATHERERS.values()}
        for name in GATHERERS.values():
            assert stack.outputs[f"{name}Arn"].endswith(f":function:{stack.names[name]}")


class TestVariables:
    """The variables, as the package reads them."""

    @pytest.mark.parametrize("field", ["Default", "MinValue", "MaxValue"])
    def test_it_takes_them(self, field: str) -> None:
        limits = {name: each[field] for name, each in PARAMETERS.items() if field in each}
        GatherConfig.from_env(variables(deploy(**limits | GATHERS)))

    def test_what_is_gathered_and_where_to(self) -> None:
        table = {"GatherTable": "shop.prices", "GatherKey": "sku,day", "GatherColumns": "price,note"}
        table["GatherEventRows"] = "handlers.mine:offers"
        given = variables(deploy(**GATHERS | table))

        assert Deployed.from_env(given) == Deployed(
            S3Object("lists", "today.txt"),
            "handlers.mine:prices",
            Table(name="prices", schema="shop", key=("sku", "day"), columns=("price", "note")),
            frozenset({"handlers.mine:prices", "handlers.mine:offers"}),
        )
        assert Deployment.from_env(given).source == S3Prefix("lists", "today.txt")
        assert GatherConfig.from_env(given).max_concurrency == 60
        assert GatherConfig.from_env(given).fetch.connections_per_host == 6

    def test_headers_reach_the_function_and_are_not_shown(self) -> None:
        headers = {"https://api.example.com": {"Authorization": "Bearer 1"}}
        given = variables(deploy(**GATHERS | {"GatherHeaders": json.dumps(headers)}))

        assert GatherConfig.from_env(given).fetch.headers == headers
        assert PARAMETERS["GatherHeaders"]["NoEcho"]

    def test_the_database_by_a_secret(self) -> None:
        database = GatherConfig.from_env(variables(deploy(**GATHERS))).database

        assert (database.host, database.secret, database.iam) == ("db.example.com", SECRET, False)
        assert (database.port, database.dbname, database.user) == (None, None, None)
        assert database.sslrootcert == "/var/task/handlers/global-bundle.pem"

    def test_the_database_by_iam(self) -> None:
        database = GatherConfig.from_env(
            variables(deploy(**GATHERS | BY_IAM | {"DatabasePort": "6432", "DatabaseName": "shop"}))
        ).database

        assert (database.secret, database.iam, database.user) == (None, True, "writer")
        assert (database.port, database.dbname) == (6432, "shop")

    def test_the_functions_that_copy_are_told_nothing_of_it(self) -> None:
        stack = deploy(**GATHERS)
        copying = stack["ThreadsFunction"]["Environment"]["Variables"]

        assert copying.keys() & variables(stack).keys() == {SOURCE}


class TestNetwork:
    def test_they_connect_from_the_subnets_with_the_security_groups(self) -> None:
        stack = deploy(**GATHERS | IN_VPC)

        for name in GATHERERS.values():
            assert stack[name]["VpcConfig"] == {
                "SubnetIds": ["subnet-0a1", "subnet-0b2"],
                "SecurityGroupIds": ["sg-0c3"],
            }
        assert "VpcConfig" not in stack["ThreadsFunction"]

    def test_without_subnets_they_are_in_no_vpc(self) -> None:
        stack = deploy(**GATHERS)

        assert not any(stack[name].get("VpcConfig") for name in GATHERERS.values())


class TestSchedule:
    def test_there_is_none_unless_it_is_given(self) -> None:
        made = deploy(**GATHERS | {"GatherSchedule": "rate(1 hour)"}).resources.keys()

        assert made - deploy(**GATHERS).resources.keys() == {"GatherNow", "GatherNowMayInvoke"}

    @pytest.mark.parametrize("gatherer", PARAMETERS["Gatherer"]["AllowedValues"])
    def test_it_invokes_the_one_chosen_and_may(self, gatherer: str) -> None:
        stack = deploy(**GATHERS | {"GatherSchedule": "rate(1 hour)", "Gatherer": gatherer})
        rule, permission = stack["GatherNow"], stack["GatherNowMayInvoke"]
        (target,) = rule["Targets"]

        assert rule["ScheduleExpression"] == "rate(1 hour)"
        assert target["Arn"].endswith(f":function:{stack.names[GATHERERS[gatherer]]}")
        assert permission["FunctionName"] == target["Arn"]
        assert permission["Principal"] == "events.amazonaws.com"
        assert permission["SourceArn"].startswith(
            f"arn:aws:events:{PSEUDO['AWS::Region']}:{PSEUDO['AWS::AccountId']}:rule/asyncstream-GatherNow-"
        )

    def test_every_function_can_be_the_one(self) -> None:
        assert PARAMETERS["Gatherer"]["AllowedValues"] == list(GATHERERS)


class TestRefused:
    @pytest.mark.parametrize(
        ("changes", "told"),
        [
            ({}, []),
            (BY_IAM, []),
            ({"GatherKey": ""}, ["needs a GatherKey"]),
            ({"DatabaseSecretArn": ""}, ["Set a DatabaseSecretArn, or a DatabaseResourceId"]),
            (BY_IAM | {"DatabaseSecretArn": SECRET}, ["are two ways to log in"]),
            (BY_IAM | {"DatabaseHost": ""}, ["Set DatabaseHost"]),
            (BY_IAM | {"DatabaseUser": ""}, ["Set DatabaseUser"]),
            ({"GatherSchedule": "rate(1 day)", "GatherUrls": ""}, ["needs GatherUrls"]),
            ({"GatherSchedule": "rate(1 day)", "GatherRows": ""}, ["needs GatherRows"]),
            ({"GatherSchedule": "rate(1 day)", "GatherTable": ""}, ["needs a GatherTable"]),
        ],
    )
    def test_what_could_not_work(self, changes: dict[str, Any], told: list[str]) -> None:
        refusals = deploy(**GATHERS | changes).refusals

        assert len(refusals) == len(told)
        assert all(part in refusal for part, refusal in zip(told, refusals, strict=True))

    @pytest.mark.parametrize(
        ("name", "text", "fits"),
        [
            ("GatherTable", "shop.prices", True),
            ("GatherTable", 'prices"; DROP', False),
            ("GatherKey", "sku,day", True),
            ("GatherKey", "sku, day", False),
            ("GatherRows", "handlers.mine:Prices.rows", True),
            ("GatherRows", "handlers.mine", False),
            ("GatherEventRows", "", True),
            ("GatherEventRows", "handlers.mine:prices,handlers.mine:Prices.rows", True),
            ("GatherEventRows", "handlers.mine:prices,", False),
            ("GatherEventRows", "handlers.mine:prices, sys:exit", False),
            ("GatherEventRows", "*", False),
            ("GatherUrls", "s3://lists/of/today.txt", True),
            ("GatherUrls", "s3://lists/*", False),
            ("GatherUrls", "s3://lists", False),
            ("GatherUrls", "https://example.com/", False),
            ("GatherSchedule", "cron(0 6 * * ? *)", True),
            ("GatherSchedule", "hourly", False),
            ("DatabaseSecretArn", SECRET, True),
            ("DatabaseSecretArn", "my-secret", False),
            ("DatabaseResourceId", "prx-0123abc", True),
            ("DatabaseResourceId", "*", False),
            ("DatabaseUser", "writer", True),
            ("DatabaseUser", "*", False),
        ],
    )
    def test_what_is_none(self, name: str, text: str, fits: bool) -> None:
        assert bool(re.fullmatch(PARAMETERS[name]["AllowedPattern"], text)) is fits
