"""What the tests of `deploy/` share: where things are, and a sam that reaches nothing and nobody."""

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from functools import cache
from pathlib import Path

import pytest
from sam_builds import ARCHITECTURE, RUNTIME_VERSION, Build


@pytest.fixture(scope="session")
def root() -> Path:
    """The repository."""
    return Path(__file__).parents[2]


@pytest.fixture(scope="session")
def template(root: Path) -> Path:
    return root / "deploy" / "template.yaml"


@pytest.fixture(scope="session")
def tools() -> Path:
    """Where this virtual environment keeps its commands."""
    return Path(sys.executable).parent


@pytest.fixture(scope="session")
def sam(tools: Path) -> Path:
    """The SAM CLI: beside the other commands, or where `make test` puts it, away from their pins."""
    found = [path for path in (tools / "sam", tools.parent / "sam" / "bin" / "sam") if path.is_file()]
    if not found:
        pytest.fail("the SAM CLI is missing: `make .venv/sam.stamp` installs it")
    return found[0]


@pytest.fixture(scope="session")
def run(root: Path, tools: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[..., str]:
    """Run a command, by default in the repository: what it printed. If it fails, so does the test."""
    home = tmp_path_factory.mktemp("sam-home")
    # sam takes it that it has just asked for its newest version: so it does not.
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
    environ.pop("MAKEFLAGS", None)  # what `make test` was told is not for the makes that a test runs

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
) -> Callable[[str], Build]:
    """`sam build` for an architecture: run once, whoever looks at it."""

    @cache
    def sam_build(architecture: str) -> Build:
        directory = tmp_path_factory.mktemp(architecture)
        target = directory / "build"
        output = run(
            sam,
            "build",
            *("--template", template),
            *("--build-dir", target),
            *("--parameter-overrides", f"Architecture={architecture}"),
            cwd=directory,
        )
        return Build(architecture, target, output)

    return sam_build


@pytest.fixture(scope="session")
def build_for(
    sam_build: Callable[[str], Build], run: Callable[..., str], tmp_path_factory: pytest.TempPathFactory
) -> Callable[[Path], Build]:
    """`sam build` for this machine, to be run by that Python."""

    @cache
    def build_for(python: Path) -> Build:
        build = sam_build(ARCHITECTURE)
        version = run(python, "-c", "import sys; print(*sys.version_info[:2], sep='.')").strip()
        if version == RUNTIME_VERSION:
            return build
        # A machine without the template's Python: the layer's packages once more, for the one it has.
        other = Build(ARCHITECTURE, tmp_path_factory.mktemp(version) / "build", build.output)
        shutil.copytree(build.directory, other.directory)
        layer = other.directory / "DependencyLayer"
        shutil.rmtree(layer)
        layer.mkdir()
        run(
            *("make", "--makefile", f"deploy/{ARCHITECTURE}/Makefile", "build-DependencyLayer"),
            *(f"ARTIFACTS_DIR={layer}", f"PYTHON_VERSION={version}", f"RUNTIME_PYTHON={python}"),
        )
        return other

    return build_for
