"""The state machine of `deploy/template.yaml`, checked as Step Functions checks it on creation.

Neither cfn-lint nor `sam validate` notices a state name that occurs twice, which makes the stack fail. A
linter of ASL notices it, and so does the test double that runs the machine (`asl_machine.py`).
"""

import copy
import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from asyncstream.deadline import LONGEST_INVOCATION
from tests.lacking import lacking

from .asl_checks import check_machine
from .asl_paths import Unknown


def child(machine: Any) -> Any:
    """Return the state machine inside the Map."""
    return machine["States"]["Move"]["ItemProcessor"]


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

    def test_it_refuses_a_name_that_occurs_twice(
        self, lint: Callable[[Any], tuple[int, str]], changed: Any
    ) -> None:
        rename(child(changed), "MoveBatch", "Plan")
        status, told = lint(changed)

        assert status == 1
        assert "DUPLICATE_STATE_NAMES: A state with this name already exists: Plan" in told


class TestDouble:
    """`check_machine`, without which the double would run machines that cannot be created."""

    def test_it_takes_the_machine(self, machine: Any) -> None:
        check_machine(machine)

    @pytest.mark.parametrize("name", ["Move", "Plan", "Defaults"])
    def test_it_refuses_a_name_that_occurs_twice(self, changed: Any, name: str) -> None:
        rename(child(changed), "MoveBatch", name)

        with pytest.raises(Unknown, match=f"DUPLICATE_STATE_NAME: {name}$"):
            check_machine(changed)

    @pytest.mark.parametrize("error", ["Lambda.TooManyRequestException", "States.All", "FilesFailedfornow"])
    def test_it_refuses_an_error_name_it_does_not_know(self, changed: Any, error: str) -> None:
        child(changed)["States"]["MoveBatch"]["Retry"][0]["ErrorEquals"].append(error)

        with pytest.raises(Unknown, match=f"error names {error}[.]$"):
            check_machine(changed)

    def test_it_refuses_a_state_that_cannot_be_reached(self, changed: Any) -> None:
        child(changed)["States"]["Lost"] = {"Type": "Pass", "Next": "MoveBatch"}

        with pytest.raises(Unknown, match=r"to the states Lost[.]$"):
            check_machine(changed)

    def test_it_refuses_a_state_that_only_the_map_names(self, changed: Any) -> None:
        changed["States"]["Lost"] = {"Type": "Succeed"}
        child(changed)["States"]["MoveBatch"]["Next"] = "Lost"

        with pytest.raises(Unknown, match=r"to the states Lost[.]$"):
            check_machine(changed)

    @pytest.mark.parametrize(
        "change",
        [
            {"Retries": 3},
            {"Type": "Parallel"},
            {"ItemBatcher": {"MaxItemsPerBatch": 2}},
            {"ItemReader": {"Resource": "arn", "Version": 2}},
            {"ItemProcessor": {"StartAt": "a", "States": {"a": {"Type": "Pass", "Assign": {}}}}},
        ],
    )
    def test_it_refuses_fields_that_it_does_not_know(self, changed: Any, change: Any) -> None:
        changed["States"]["Move"] |= change

        with pytest.raises(Unknown):
            check_machine(changed)


def tasks(machine: Any) -> list[Any]:
    """Return every state that invokes the function."""
    states = [*machine["States"].values(), *child(machine)["States"].values()]
    found = [state for state in states if state["Type"] == "Task"]
    assert len(found) == 5
    return found


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


def test_all_tasks_are_repeated_for_the_same_errors(machine: Any) -> None:
    first, *others = tasks(machine)

    assert all(task["Retry"] == first["Retry"] for task in others)


def test_failed_files_are_not_tried_again_by_a_retrier(machine: Any) -> None:
    """The last step fails with this error; only a redrive repeats it."""
    for task in tasks(machine):
        assert not any("FilesFailed" in retrier["ErrorEquals"] for retrier in task["Retry"])


def test_no_value_of_the_machine_is_null(machine: Any) -> None:
    """CloudFormation refuses templates with null values."""
    assert "null" not in json.dumps(machine)
