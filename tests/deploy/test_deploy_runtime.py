"""The files that `sam build` ships, run by AWS's runtime client as in Lambda, with nothing else installed.

The project's own Runtime API stands in for Lambda's, the lab S3 for S3. `.venv/runtime` only has Python and
the runtime client, so anything that the function and its layer lack is missing here, too.
"""

import json
import re
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from queue import Empty
from typing import Any

import pytest
from packaging.version import Version

from asyncstream import MiB
from asyncstream.lab.s3 import LabS3
from asyncstream.lab.sandbox.function import Function, variables
from asyncstream.lab.sandbox.runtime_api import Event, Ready, Replied, RuntimeApi, RuntimeMessage
from asyncstream.lab.web import LabWeb, WebModel
from tests.servers.postgres import Schema

from .sam_builds import FUNCTIONS, WEB_FUNCTIONS, Build

PART = 5 * MiB
SIZES = {"small": 1000, "large": 12 * MiB}  # one GET and one PUT; three parts
ASYNCIO_SDK = {"aioboto3", "aiobotocore", "aiohttp"}
SDKS = {"aioboto3", "awscrt", "boto3", "botocore", "msgspec"}
FOR_THE_DEVELOPER = {"flask", "jinja2", "moto", "rich", "trustme"}

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]


@dataclass(frozen=True)
class Artefact:
    """A function and its layers, in Lambda's layout."""

    handler: str
    task_root: Path
    packages: Path
    more: tuple[Path, ...] = ()


@pytest.fixture(scope="session")
def runtime(root: Path) -> Path:
    """Return the Python that stands in for Lambda's."""
    python = root / ".venv" / "runtime" / "bin" / "python"
    if not python.is_file():
        pytest.fail("Lambda's runtime client is missing. Run `make .venv/runtime.stamp` to install it.")
    return python


@pytest.fixture(scope="session")
def version(run: Callable[..., str], runtime: Path) -> str:
    """Return the runtime's minor version."""
    return run(runtime, "-c", "import sys; print(*sys.version_info[:2], sep='.')").strip()


@pytest.fixture(params=FUNCTIONS)
def artefact(request: pytest.FixtureRequest, build_for: Callable[[Path], Build], runtime: Path) -> Artefact:
    """Return each function in turn."""
    build = build_for(runtime)
    return Artefact(FUNCTIONS[request.param], build.directory / request.param, build.packages)


@pytest.fixture(scope="module")
def lab() -> Iterator[LabS3]:
    with LabS3() as server:
        server.create_bucket("source", keep=False)
        server.declare("source", SIZES.items())
        yield server


class Process:
    """The runtime client with a function loaded. It is invoked once and logs its imports."""

    def __init__(self, process: "subprocess.Popen[bytes]", api: RuntimeApi, log: Path) -> None:
        self._process = process
        self._api = api
        self._log = log

    def invoke(self, event: Any) -> Any:
        """Return the handler's reply."""
        assert isinstance(self._said(), Ready), self.log
        headers = {
            "Lambda-Runtime-Aws-Request-Id": "8476a536-e9f4-11e8-9739-2dfe598c3fcd",
            "Lambda-Runtime-Deadline-Ms": str(int((time.time() + 60) * 1000)),
            "Lambda-Runtime-Invoked-Function-Arn": "arn:aws:lambda:us-east-1:123456789012:function:artefact",
        }
        self._api.events.put(Event(json.dumps(event).encode(), headers))
        said = self._said()
        assert isinstance(said, Replied), f"{said}\n{self.log}"
        return json.loads(said.payload)

    @property
    def log(self) -> str:
        return self._log.read_text()

    @property
    def imported(self) -> set[str]:
        """Packages that init and invocation imported, including failed attempts."""
        return set(re.findall(r"^import time: .*\| +(\w+)", self.log, re.MULTILINE))

    def _said(self) -> RuntimeMessage | None:
        """Return the next message of the process; None if it ends instead."""
        while self._process.poll() is None:
            try:
                return self._api.messages.get(timeout=0.2)
            except Empty:
                continue
        return None


@contextmanager
def started(
    artefact: Artefact, runtime: Path, version: str, environment: dict[str, str], directory: Path
) -> Iterator[Process]:
    """Start a function's process, without this process's variables."""
    function = Function(
        name="artefact",
        handler=f"handlers.{artefact.handler}.handler",
        code=[artefact.task_root, artefact.packages, *artefact.more],
        memory_mb=512,
        environment=environment,
    )
    log, api = directory / "log", RuntimeApi()
    environ = variables(function, api.address, "stream", None)
    environ["AWS_EXECUTION_ENV"] = f"AWS_Lambda_python{version}"
    with log.open("wb") as written:
        process = subprocess.Popen(
            [runtime, "-B", "-X", "importtime", "-m", "awslambdaric", function.handler],
            cwd=artefact.task_root,
            env=environ,
            stdout=written,
            stderr=written,
        )
    try:
        yield Process(process, api, log)
    finally:
        process.kill()
        process.wait()
        api.close()


def importable(run: Callable[..., str], runtime: Path, names: set[str], *path: Path) -> set[str]:
    """Return the names that the runtime can import with these directories on its path."""
    code = "import importlib.util, sys; print(*filter(importlib.util.find_spec, sys.argv[1:]))"
    return set(run(runtime, "-c", code, *names, PYTHONPATH=":".join(map(str, path))).split())


def test_the_runtime_brings_nothing_of_a_function(run: Callable[..., str], runtime: Path) -> None:
    assert importable(run, runtime, {"awslambdaric"} | SDKS, runtime) == {"awslambdaric"}


def test_a_function_has_its_sdks_and_nothing_for_the_developer(
    artefact: Artefact, run: Callable[..., str], runtime: Path
) -> None:
    path = (artefact.task_root, artefact.packages)

    assert importable(run, runtime, SDKS | FOR_THE_DEVELOPER, *path) == SDKS


def test_deployed_clients_are_aioboto3s_on_todays_sdks(
    build_for: Callable[[Path], Build], run: Callable[..., str], runtime: Path
) -> None:
    build = build_for(runtime)
    code = (
        "import aiobotocore, boto3\n"
        "from asyncstream.s3.access import S3Access\n"
        "from asyncstream.s3.aio import new_session\n"
        "kind = type(new_session(S3Access()))\n"
        "print(kind.__module__, kind.__name__, aiobotocore.__version__, boto3.__version__)"
    )
    path = f"{build.directory / 'AsyncioMultipartFunction'}:{build.packages}"

    module, name, *versions = run(runtime, "-c", code, PYTHONPATH=path).split()

    assert (module, name) == ("aioboto3.session", "Session")
    assert Version(versions[0]) >= Version("3.10")
    assert Version(versions[1]) >= Version("1.43")


def test_a_function_copies_in_the_runtime(
    artefact: Artefact, runtime: Path, version: str, lab: LabS3, tmp_path: Path
) -> None:
    """Only the asyncio functions load the asyncio SDK."""
    target = artefact.handler.replace("_", "-")
    lab.create_bucket(target, keep=False)
    files = [{"source": f"s3://source/{key}", "destination": f"s3://{target}/{key}"} for key in SIZES]

    with started(artefact, runtime, version, lab.environment(), tmp_path) as process:
        reply = process.invoke({"files": files, "config": {"part_size": PART}})

    asked, found = lab.checksums("source"), lab.checksums(target)
    assert reply["status"] == "copied", reply
    assert reply["totals"]["requests"].get("UploadPart", 0) == (3 if "multipart" in artefact.handler else 0)
    assert {key: copy[:2] for key, copy in found.items()} == {key: asked[key][:2] for key in SIZES}
    assert process.imported & ASYNCIO_SDK == (ASYNCIO_SDK if "asyncio" in artefact.handler else set())


@pytest.mark.parametrize("name", WEB_FUNCTIONS)
def test_a_function_gathers_in_the_runtime(
    name: str,
    build_for: Callable[[Path], Build],
    runtime: Path,
    version: str,
    schema: Schema,
    tmp_path: Path,
) -> None:
    """Only the asyncio function loads the asyncio SDK."""
    build = build_for(runtime)
    shipped = tmp_path / "shipped"
    shipped.mkdir()
    (shipped / "mine.py").write_text("import json\n\ndef items(page):\n    return json.loads(page.body)\n")
    artefact = Artefact(
        WEB_FUNCTIONS[name], build.directory / name, build.packages, (build.database, shipped)
    )
    schema.create("id bigint PRIMARY KEY, page int, name text, price numeric")
    environment = {
        "POSTGRES_DSN": schema.server.dsn(),
        "GATHER_ALLOWED_NETWORKS": ",".join(LabWeb.ALLOWED_NETWORKS),
        "GATHER_ROWS": "mine:items",
        "GATHER_TABLE": f"{schema.name}.t",
        "GATHER_KEY": "id",
    }

    with (
        LabWeb(WebModel()) as web,
        started(artefact, runtime, version, environment, tmp_path) as process,
    ):
        reply = process.invoke({"urls": web.urls(5)})

    assert reply["status"] == "stored", reply
    assert len(schema.rows()) == 50
    assert process.imported & ASYNCIO_SDK == ({"aiohttp"} if "asyncio" in artefact.handler else set())
    assert "boto3" not in process.imported  # the function reads neither a secret nor a list
