"""The sample events of `tests/handlers/` match those of the SAM CLI."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

# The arguments of `sam local generate-event`, by the stored event's name.
SAMPLES = {
    "s3_put": ("s3", "put"),
    "s3_batch_invocation": ("s3", "batch-invocation"),
    "eventbridge_scheduled": ("cloudwatch", "scheduled-event"),
    "sqs_receive_message": ("sqs", "receive-message"),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", SAMPLES)
def test_the_stored_event_is_the_one_that_sam_generates(
    name: str, run: Callable[..., str], sam: Path, root: Path
) -> None:
    stored = json.loads((root / "tests" / "handlers" / "sample_events" / f"{name}.json").read_text())

    assert json.loads(run(sam, "local", "generate-event", *SAMPLES[name])) == stored
