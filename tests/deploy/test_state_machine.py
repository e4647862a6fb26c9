"""The state machine of `deploy/template.yaml`, checked as Step Functions checks it on creation.

Neither cfn-lint nor `sam validate` notices a state name that occurs twice, which makes the stack fail. A
linter of ASL notices it, and so does the test double that runs the machine (`asl_machine.py`).
"""

import copy
import json
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from asyncstream.deadline import LONGEST_INVOCATION
from tests.lacking import lacking

from .asl_checks import check_machine
from .asl_paths import Unknown

MAPS = ["Listing", "Csv", "JsonLines", "Inventory", "Failed"]


def child(machine: Any, name: str) -> Any:
    """Return the state machine inside that Map."""
    return machine["States"][name]["ItemProcessor"]


def rename(machine: Any, old: str, new: str) -> None:
    """Rename a state of a machine, also in its transitions."""
    text = json.dumps(machine).replace(json.dumps(old), json.dumps(new))
    machine.clear()
    machine.update(json.loads(text))


@pytest.fixture
def changed(machine: Any) -> Any:
    """Return a copy of the machine that a test may damage."""
    return copy.deepcopy(machine)


class TestLinter:
    """asl-validator, from npm."""

    @pytest.fixture
    def lint(self, tools: Path, tmp_path: Path) -> Callable[[Any], tuple[int, str]]:
        """Return a function that lints a machine and returns the exit status and the output."""
        program = tools.parent / "asl" / "node_modules" / ".bin" / "asl-validator"
        if not program.is_file():
            lacking("asl-validator is missing. If npm is installed, `make .venv/asl.stamp` installs it.")

        def lint(machine: Any) -> tuple[int, str]:
            file = tmp_path / "machine.json"
            file.write_text(json.dumps(machine))
            command = [str(program), "--json-path", str(file)]
            done = subprocess.run(command, capture_output=True, text=True, check=False)
            return done.returncode, done.stdout + done.stderr

        return lint

    def test_it_has_nothing_to_say(self, lint: Callable[[Any], tuple[int, str]], machine: Any) -> None:
        assert lint(machine)[0] == 0, lint(machine)[1]

    def test_it_refuses_a_name_that_two_maps_use(
        self, lint: Callable[[Any], tuple[int, str]], changed: Any
    ) -> None:
        rename(child(changed, "Csv"), "CopyCsv", "CopyListing")
        status, told = lint(changed)

        assert status == 1
        assert "DUPLICATE_STATE_NAMES: A state with this name already exists: CopyListing" in told


class TestDouble:
    """`check_machine`, without which the double would run machines that cannot be created."""

    def test_it_takes_the_machine(self, machine: Any) -> None:
        check_machine(machine)

    @pytest.mark.parametrize("name", ["CopyListing", "Listing", "Defaults"])
    def test_it_refuses_a_name_that_occurs_twice(self, changed: Any, name: str) -> None:
        rename(child(changed, "Csv"), "CopyCsv", name)

        with pytest.raises(Unknown, match=f"DUPLICATE_STATE_NAME: {name}$"):
            check_machine(changed)

    @pytest.mark.parametrize("error", ["Lambda.TooManyRequestException", "States.All", "FilesFailedfornow"])
    def test_it_refuses_an_error_name_it_does_not_know(self, changed: Any, error: str) -> None:
        child(changed, "Csv")["States"]["CopyCsv"]["Retry"][0]["ErrorEquals"].append(error)

        with pytest.raises(Unknown, match=f"error names {error}[.]$"):
            check_machine(changed)

    @pytest.mark.parametrize("name", MAPS)
    def test_it_refuses_a_state_that_cannot_be_reached(self, changed: Any, name: str) -> None:
        child(changed, name)["States"]["Lost"] = {"Type": "Pass", "Next": f"Copy{name}"}

        with pytest.raises(Unknown, match=r"to the states Lost[.]$"):
            check_machine(changed)

    def test_it_refuses_a_state_that_only_another_map_names(self, changed: Any) -> None:
        child(changed, "Csv")["States"]["Lost"] = {"Type": "Succeed"}
        child(changed, "Listing")["States"]["CopyListing"]["Next"] = "Lost"

        with pytest.raises(Unknown, match="MISSING_TRANSITION_TARGET: Lost"):
            check_machine(changed)

    @pytest.mark.parametrize(
        "change",
        [
            {"Retries": 3},
            {"Type": "Wait"},
            {"ItemReader": {"Resource": "arn", "Version": 2}},
            {"ItemProcessor": {"StartAt": "a", "States": {"a": {"Type": "Pass", "Assign": {}}}}},
        ],
    )
    def test_it_refuses_fields_that_it_does_not_know(self, changed: Any, change: Any) -> None:
        changed["States"]["Listing"] |= change

        with pytest.raises(Unknown):
            check_machine(changed)


def tasks(machine: Any) -> Iterator[Any]:
    """Yield every state that invokes the function."""
    yield machine["States"]["Slices"]
    for name in MAPS:
        for state in child(machine, name)["States"].values():
            if state["Type"] == "Task":
                yield state


def test_all_maps_have_children_that_do_the_same(machine: Any) -> None:
    shapes = []
    for name in MAPS:
        processor = copy.deepcopy(child(machine, name))
        for old in processor["States"]:
            rename(processor, old, old.replace(name, "Kind"))
        shapes.append(processor)

    assert shapes == [shapes[0]] * len(MAPS)


def test_throttled_invocations_have_a_retrier_of_their_own(machine: Any) -> None:
    for task in tasks(machine):
        [retrier] = [
            each for each in task["Retry"] if "Lambda.TooManyRequestsException" in each["ErrorEquals"]
        ]

        assert retrier["ErrorEquals"] == ["Lambda.TooManyRequestsException"]
        assert (retrier["MaxAttempts"], retrier["MaxDelaySeconds"]) == (200, 60)


def test_what_killed_an_environment_is_tried_once_more(machine: Any) -> None:
    for task in tasks(machine):
        for error in ("Lambda.Unknown", "Sandbox.Timedout", "Runtime.ExitError", "States.Timeout"):
            [attempts] = [each["MaxAttempts"] for each in task["Retry"] if error in each["ErrorEquals"]]
            assert attempts == 1


def test_a_task_waits_longer_than_any_function_runs(machine: Any) -> None:
    for task in tasks(machine):  # one minute more, in which the environment starts
        assert task["TimeoutSeconds"] > LONGEST_INVOCATION + 60
