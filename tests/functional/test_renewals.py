"""Sessions whose credentials have expired: new ones are used if there are any, and old clients are closed."""

import pytest

from asyncstream import CredentialsExpired, S3Access, S3Object, TransferConfig, TransferSession
from asyncstream.engines import ENGINES, EngineName
from asyncstream.lab.s3 import Fault, LabS3

from .command_line import LabWith

ROUNDS = 5
QUICK = TransferConfig(retry_base_delay=1e-3)
FILES = [(S3Object("sources", "x/000000"), S3Object("copies", "a"))]

pytestmark = pytest.mark.parametrize("engine", ENGINES)


@pytest.fixture
def lab(lab_with: LabWith) -> LabS3:
    return lab_with(1, 300_000)


def expire(lab: LabS3, times: list[int] | None = None) -> None:
    """Make the lab refuse GETs, by their numbers from now on; all of them by default."""
    lab.set_faults([Fault("refuse", "GetObject", times=times, status=400, code="ExpiredToken")])


@pytest.mark.parametrize(
    "access", [S3Access(), S3Access(access_key_id="AKIAFIXED", secret_access_key="x")], ids=["env", "given"]
)
def test_the_same_keys_need_no_new_clients(engine: EngineName, lab: LabS3, access: S3Access) -> None:
    with TransferSession(engine, source=access, destination=access) as session:
        session.transfer(FILES, QUICK).raise_for_failures()
        before = lab.stats()["connections"]
        expire(lab)
        for _ in range(ROUNDS):
            [result] = session.transfer(FILES, QUICK).files
            assert isinstance(result.error, CredentialsExpired)

        assert lab.stats()["connections"] == before


def test_clients_of_earlier_keys_are_closed(
    engine: EngineName, lab: LabS3, monkeypatch: pytest.MonkeyPatch
) -> None:
    with TransferSession(engine) as session:
        session.transfer(FILES, QUICK).raise_for_failures()
        per_client = lab.stats()["open_connections"]
        for number in range(ROUNDS):
            monkeypatch.setenv("AWS_ACCESS_KEY_ID", f"AKIA{number}")
            expire(lab, times=[1])
            session.transfer(FILES, QUICK).raise_for_failures()

        # asyncio keeps the clients before the last renewal, too.
        assert lab.stats()["open_connections"] <= 2 * per_client
