"""The handlers as functions: decorators read their names, and unit tests call them without a context."""

import functools
import inspect
from collections.abc import Callable
from importlib import import_module
from typing import Any

import pytest

from asyncstream.lab.s3 import LabS3

from .conftest import HANDLERS
from .invocations import Context, files_of
from .trigger_events import object_created
from .web.gatherings import HANDLERS as WEB_HANDLERS


@pytest.mark.parametrize("function", [*HANDLERS, *WEB_HANDLERS])
def test_a_handler_is_a_function_with_a_name(lab: LabS3, function: str) -> None:
    handler = import_module(f"handlers.{function}").handler
    assert inspect.isfunction(handler)
    assert handler.__name__ == "handler"
    assert handler.__doc__
    assert list(inspect.signature(handler).parameters) == ["event", "context"]


def test_a_handler_may_be_decorated(function: str, source: str, target: str) -> None:
    """As Powertools' `capture_lambda_handler` does it: the span has the handler's name."""
    spans = []

    def capture(handler: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(handler)
        def captured(event: Any, context: Any, *args: Any, **options: Any) -> Any:
            spans.append(f"## {handler.__name__}")
            return handler(event, context, *args, **options)

        return captured

    handler = capture(import_module(f"handlers.{function}").handler)
    reply = handler({"files": files_of(source, target, "in/000000")}, Context(60_000))
    assert (reply["status"], spans) == ("copied", ["## handler"])


def test_no_context_is_no_deadline_and_no_id(function: str, source: str, target: str) -> None:
    handler = import_module(f"handlers.{function}").handler
    reply = handler({"files": files_of(source, target, "in/000000", "in/000001")}, None)
    assert (reply["status"], reply["request_id"]) == ("copied", "")


def test_a_trigger_needs_no_context(
    function: str, lab: LabS3, source: str, target: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DEPLOYED_SOURCE", f"s3://{source}/")
    monkeypatch.setenv("DEPLOYED_DESTINATION", f"s3://{target}/")
    handler = import_module(f"handlers.{function}").handler
    handler(object_created(source, "in/000000"), None)
    assert "in/000000" in lab.checksums(target)
