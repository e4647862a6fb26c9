"""Fixtures of the tests of `deploy/`: paths, sam without a network, and runs of the state machine."""

import json
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import boto3
import pytest
from samtranslator.yaml_helper import yaml_parse

from asyncstream.engines.keeping import close_all_kept
from asyncstream.lab.s3 import LabS3

from .asl_machine import StepFunctions
from .many_files import Function
from .sam_builds import ARCHITECTURE, RUNTIMES, Build


@pytest.fixture(scope="session")
def root() -> Path:
    """The repository."""
    return Path(__file__).parents[2]


@pytest.fixture(scope="session")
def template(root: Path) -> Path:
    return root / "deploy" / "template.yaml"


@pytest.fixture(scope="session")
def machine(template: Path) -> Any:
    """Return the state machine's definition, with values for CloudFormation's substitutions."""
    resource = yaml_parse(template.read_text())["Resources"]["ManyFiles"]["Properties"]
    values = {"Partition": "aws", "Winner": "w", "ResultBucket": "clean", "ResultPrefix": "out/many-files/"}
    assert resource["DefinitionSubstitutions"].keys() == values.keys()
    text = json.dumps(resource["Definition"])
    return json.loads(re.sub(r"\$\{(\w+)\}", lambda found: values[found[1]], text))


@pytest.fixture(scope="session")
def tools() -> Path:
    """Return the directory of this virtual environment's commands."""
    return Path(sys.executable).parent


@pytest.fixture(scope="session")
def sam(tools: Path) -> Path:
    """Return the SAM CLI: beside the other commands, or where `make test` installs it, with its own pins."""
    found = [path for path in (tools / "sam", tools.parent / "sam" / "bin" / "sam") if path.is_file()]
    if not found:
        pytest.fail("The SAM CLI is missing. Run `make .venv/sam.stamp` to install it.")
    return found[0]


@pytest.fixture(scope="session")
def run(root: Path, tools: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[..., str]:
    """Run a command, by default in the repository, and return its output; fail the test if it fails."""
    home = tmp_path_factory.mktemp("sam-home")
    # This file says that sam has just looked for its newest version, so it does not ask the network.
    (home / "metadata.json").write_text(json.dumps({"lastVersionCheck": time.time()}))
    environ = os.environ | {
        "PATH": f"{tools}{os.pathsep}{os.environ['PATH']}",
        "SAM_CLI_TELEMETRY": "0",
        "__SAM_CLI_APP_DIR": str(home),
        "AWS_DEFAULT_REGION": "eu-central-1",
        "AWS_ACCESS_KEY_ID": "testing",
        "AWS_SECRET_ACCESS_KEY": "testing",
        "AWS_EC2_METADATA_DISABLED": "true",
    }
    environ.pop("MAKEFLAGS", None)  # the options of `make test` do not apply to the makes that a test runs

    def run(*command: str | Path, cwd: Path = root, **more: str) -> str:
        done = subprocess.run(
            command,
            cwd=cwd,
            env=environ | more,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
        if done.returncode:
            pytest.fail(f"{' '.join(map(str, command))} failed ({done.returncode}):\n{done.stdout}")
        return done.stdout

    return run


@pytest.fixture(scope="session")
def sam_build(
    run: Callable[..., str], sam: Path, template: Path, tmp_path_factory: pytest.TempPathFactory
) -> Callable[[str, str], Build]:
    """Run `sam build` for a runtime and an architecture, once for all tests."""

    @cache
    def sam_build(runtime: str, architecture: str) -> Build:
        directory = tmp_path_factory.mktemp(f"{runtime}-{architecture}")
        target = directory / "build"
        output = run(
            sam,
            "build",
            *("--template", template),
            *("--build-dir", target),
            *("--parameter-overrides", f"Runtime={runtime} Architecture={architecture}"),
            cwd=directory,
        )
        return Build(runtime, architecture, target, output)

    return sam_build


@pytest.fixture(scope="session")
def build_for(
    sam_build: Callable[[str, str], Build], run: Callable[..., str], tmp_path_factory: pytest.TempPathFactory
) -> Callable[[Path], Build]:
    """Run `sam build` for this machine and for the Python that will run the result."""

    @cache
    def build_for(python: Path) -> Build:
        version = run(python, "-c", "import sys; print(*sys.version_info[:2], sep='.')").strip()
        if f"python{version}" in RUNTIMES:
            return sam_build(f"python{version}", ARCHITECTURE)
        # Without the template's Pythons here, the layer's packages are built for the Python that is here.
        build = sam_build(RUNTIMES[-1], ARCHITECTURE)
        other = replace(build, directory=tmp_path_factory.mktemp(version) / "build")
        shutil.copytree(build.directory, other.directory)
        layer = other.directory / "DependencyLayer"
        shutil.rmtree(layer)
        layer.mkdir()
        run(
            *(
                "make",
                "--makefile",
                f"deploy/{build.runtime}/{ARCHITECTURE}/Makefile",
                "build-DependencyLayer",
            ),
            *(f"ARTIFACTS_DIR={layer}", f"PYTHON_VERSION={version}", f"RUNTIME_PYTHON={python}"),
        )
        return other

    return build_for


@pytest.fixture
def lab() -> Iterator[LabS3]:
    """Start a lab S3 with a bucket of sources, and one for copies and runs."""
    close_all_kept()
    with LabS3() as server, pytest.MonkeyPatch.context() as environ:
        environ.delenv("AWS_PROFILE", raising=False)
        environ.setenv("DEPLOYED_SOURCE", "s3://raw/")
        environ.setenv("DEPLOYED_DESTINATION", "s3://clean/out/")
        for name, value in server.environment().items():
            environ.setenv(name, value)
        server.create_bucket("raw", keep=True)
        server.create_bucket("clean", keep=True)
        yield server
        close_all_kept()


@pytest.fixture
def s3(lab: LabS3) -> Iterator[Any]:
    client = boto3.client("s3")
    yield client
    client.close()


@pytest.fixture
def function() -> Function:
    return Function()


@pytest.fixture
def start(machine: Any, s3: Any, function: Function) -> StepFunctions:
    return StepFunctions(machine, s3, function)
