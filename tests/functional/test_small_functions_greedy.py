"""Events that ask for more memory than a function of 128 MB has: each gets a correct reply."""

from pathlib import Path
from typing import Any

import pytest

from asyncstream.units import MiB
from tests.servers import LabServer
from tests.servers.small_function import Invoke

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

FILES = 30
GREEDY = {"memory_limit": 10_000_000_000, "chunk_size": 16 * MiB, "max_concurrency": 1000}


def files(server: LabServer, content: bytes | int) -> list[dict[str, str]]:
    """Store sources of a content or a size; return the files of an event that copies them."""
    source = server.new_bucket()
    target = f"{source.name}-made"
    server.lab.create_bucket(target, keep=False)
    for number in range(FILES):
        if isinstance(content, bytes):
            source.put(f"{number}", content)
        else:
            server.lab.declare(source.name, [(f"{number}", content)])
    return [
        {"source": f"s3://{source.name}/{number}", "destination": f"s3://{target}/{number}"}
        for number in range(FILES)
    ]


@pytest.mark.parametrize("multipart", [False, True])
def test_a_greedy_event_is_capped_by_the_memory(
    invoke: Invoke, handler: str, lab_server: LabServer, multipart: bool
) -> None:
    event: dict[str, Any] = {
        "files": files(lab_server, 9 * MiB),
        "config": {**GREEDY, "multipart": multipart, "part_size": 5 * MiB},
    }
    reply = invoke(handler, event)

    assert reply["status"] == "copied"
    assert reply["totals"]["memory_limit"] < 128 * MiB
    assert reply["totals"]["slots"] <= 128


def test_a_greedy_event_with_lines_is_capped_by_the_memory(
    invoke: Invoke, handler: str, lab_server: LabServer, tmp_path: Path
) -> None:
    """The lines are short: as Python objects they take twenty times as much memory."""
    (tmp_path / "of_lines.py").write_text(
        "from asyncstream.transforms import map_lines\nkept = map_lines(lambda line: line)\n"
    )
    event = {
        "files": files(lab_server, b"0\n" * (MiB // 16)),
        "config": {**GREEDY, "transform": "of_lines:kept"},
    }
    reply = invoke(handler, event, code=tmp_path)

    assert reply["status"] == "copied"
