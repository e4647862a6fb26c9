"""A session that is used again after its connections were closed, as happens in a frozen Lambda."""

from pathlib import Path

import pytest

from asyncstream import S3Object, TransferConfig, TransferSession
from asyncstream.engines import ENGINES, EngineName
from tests.servers import LabServer
from tests.servers.base import free_port

KEYS = [f"file-{number}" for number in range(6)]


@pytest.mark.parametrize("engine", ENGINES)
def test_connections_closed_while_idle_cost_no_attempt(
    engine: EngineName, credentials: None, tmp_path: Path
) -> None:
    """The server had not answered, so nothing can be done twice and the retry is free."""
    port = free_port()
    with TransferSession(engine, endpoint_url=f"http://127.0.0.1:{port}") as session:
        for _ in range(2):
            server = LabServer(port=port)
            server.start(tmp_path)
            server.lab.create_bucket("files", keep=True)
            server.lab.declare("files", [(key, 1_000_000) for key in KEYS])
            report = session.transfer(
                [(S3Object("files", key), S3Object("files", f"copies/{key}")) for key in KEYS],
                TransferConfig(max_concurrency=3, max_attempts=1),
            )
            server.stop()
            report.raise_for_failures()
            assert {result.attempts for result in report.files} == {1}
