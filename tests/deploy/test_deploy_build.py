"""The files that `sam build` ships, without docker, for both architectures and both runtimes."""

import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from .sam_builds import ARCHITECTURE, FUNCTIONS, RUNTIMES, WEB_FUNCTIONS, Build

LEFT_OUT = ["lab/", "cli/", "worker/"]
ELF_MACHINES = {"arm64": 183, "x86_64": 62}
ABOUT_BYTECODE = "so there is no bytecode"

slow = [pytest.mark.slow, pytest.mark.timeout(300)]


# Each runtime and each architecture once. One of them is the build that other tests run on x86_64.
BUILDS = [("python3.13", "x86_64"), ("python3.14", "arm64")]


@pytest.fixture(scope="module", params=BUILDS, ids="-".join)
def build(request: pytest.FixtureRequest, sam_build: Callable[[str, str], Build]) -> Build:
    """Return each build in turn."""
    return sam_build(*request.param)


def shipped(source: Path) -> set[str]:
    """Return the modules of the package and the handlers that belong in a function, relative to the root."""
    left_out = tuple(f"asyncstream/{name}" for name in LEFT_OUT)
    found = [path for package in ("asyncstream", "handlers") for path in (source / package).rglob("*.py")]
    names = {path.relative_to(source).as_posix() for path in found}
    return {name for name in names if not name.startswith(left_out)}


def modules(directory: Path) -> set[str]:
    return {path.relative_to(directory).as_posix() for path in directory.rglob("*.py")}


def bytes_of(directory: Path) -> int:
    """Return the size that counts against Lambda's limit: all files, unzipped."""
    return sum(path.stat().st_size for path in directory.rglob("*") if path.is_file())


def bytecode(directory: Path) -> Iterator[Path]:
    return directory.rglob("*.pyc")


def assert_compiled(directory: Path) -> None:
    """Check that every module has bytecode that is marked as not to be checked against the source."""
    found = list(bytecode(directory))
    assert len(found) == len(modules(directory))
    # PEP 552: the second word is 1 for a hash that is not checked.
    assert all(path.read_bytes()[4:8] == b"\x01\0\0\0" for path in found)


class TestBuild:
    """One build per architecture, checked from all sides."""

    pytestmark = slow

    @pytest.mark.parametrize("function", [*FUNCTIONS, *WEB_FUNCTIONS])
    def test_functions_carry_the_handlers_and_the_package_alone(
        self, build: Build, root: Path, function: str
    ) -> None:
        directory = build.directory / function

        assert modules(directory) == shipped(root)
        assert {path.name for path in directory.iterdir()} == {"asyncstream", "handlers"}
        assert not any((directory / "asyncstream" / name).exists() for name in LEFT_OUT)

    def test_the_layer_has_what_the_package_needs(self, build: Build) -> None:
        needed = {"aioboto3", "aiobotocore", "anyio", "aws_xray_sdk", "boto3", "inflate64", "isal", "msgspec"}
        found = {path.name for path in build.packages.iterdir()}

        assert needed <= found
        # Python 3.14 has its own zstd.
        assert ("backports" in found) == (build.runtime == "python3.13")

    def test_the_layer_has_aioboto3_on_todays_aiobotocore(self, build: Build) -> None:
        versions = dict(path.stem.rsplit("-", 1) for path in build.packages.glob("*.dist-info"))

        assert versions["aioboto3"] == "15.5.0"
        assert versions["aiobotocore"] >= "3.10"
        assert versions["boto3"] >= "1.43"

    def test_the_layer_of_the_database_has_what_it_needs_and_no_more(self, build: Build) -> None:
        named = {path.name for path in build.database.iterdir() if not path.name.endswith(".dist-info")}

        assert named - {"__pycache__"} == {
            *("psycopg", "psycopg_binary", "psycopg_binary.libs", "typing_extensions.py")
        }
        assert bytes_of(build.database) < 17 * 2**20

    def test_the_layers_have_the_pinned_versions(self, build: Build, root: Path) -> None:
        pins = re.findall(r"^([\w.-]+)==([^\s;]+)", (root / "constraints.txt").read_text(), re.MULTILINE)
        pinned = {f"{re.sub('[-_.]+', '_', name)}-{version}".lower() for name, version in pins}

        # "aioboto3-15.5.0.dist-info"; a package without a pin could change from one build to the next.
        for layer in (build.packages, build.database):
            assert {path.stem.lower() for path in layer.glob("*.dist-info")} <= pinned

    def test_the_layers_are_for_the_architecture(self, build: Build) -> None:
        libraries = [*build.packages.rglob("*.so"), *build.database.rglob("*.so")]
        machines = {int.from_bytes(library.read_bytes()[18:20], "little") for library in libraries}

        assert machines == {ELF_MACHINES[build.architecture]}
        built_for = {found[1] for each in libraries if (found := re.search(r"cpython-(\d+)-", each.name))}
        assert built_for == {build.runtime.removeprefix("python").replace(".", "")}

    def test_the_layer_knows_the_services_it_needs_and_no_other(
        self, build: Build, run: Callable[..., str]
    ) -> None:
        data = build.packages / "botocore" / "data"
        names = {path.name for path in data.iterdir() if path.is_dir()}
        # botocore is plain Python: it runs here, even if the layer was built for another architecture.
        code = (
            f"import sys; sys.path.insert(0, {str(build.packages)!r})\n"
            "import botocore.session\n"
            "session = botocore.session.get_session()\n"
            "print(botocore.__file__)\n"
            "services = ('s3', 'secretsmanager', 'sts')\n"
            "print([session.create_client(name).meta.endpoint_url for name in services])"
        )
        where, endpoints = run(sys.executable, "-B", "-c", code).splitlines()

        assert names == {"s3", "secretsmanager", "sts"}
        assert where.startswith(str(build.packages))
        assert "s3.eu-central-1.amazonaws.com" in endpoints

    @pytest.mark.parametrize("function", FUNCTIONS)
    def test_a_function_and_its_layer_are_small(self, build: Build, function: str) -> None:
        layer = bytes_of(build.packages)

        # The size includes bytecode. awscrt takes 12 MiB of it; all of botocore's data would add another 24.
        assert layer < 42 * 2**20
        assert layer + bytes_of(build.directory / function) <= 46_500_000
        assert not (build.packages / "bin").exists()

    def test_bytecode_is_whole_or_its_want_is_told(self, build: Build) -> None:
        if ABOUT_BYTECODE in build.output:
            assert not list(bytecode(build.directory))
        else:
            assert_compiled(build.directory)


@pytest.fixture(scope="module")
def made(run: Callable[..., str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make one function, without bytecode, for all tests that only read it."""
    directory = tmp_path_factory.mktemp("function")
    TestFunctionTarget.make(run, directory, RUNTIME_PYTHON="")
    return directory


class TestFunctionTarget:
    """The target of one function, run with make itself. Settings that depend on the machine are passed."""

    @staticmethod
    def make(run: Callable[..., str], directory: Path, **environment: str) -> str:
        return run(
            "make",
            *("--makefile", f"deploy/{RUNTIMES[0]}/{ARCHITECTURE}/Makefile"),
            "build-SequentialFunction",
            ARTIFACTS_DIR=str(directory),
            **environment,
        )

    def test_without_the_runtimes_python_it_says_so(
        self, run: Callable[..., str], tmp_path: Path, root: Path
    ) -> None:
        output = self.make(run, tmp_path, RUNTIME_PYTHON="")

        assert ABOUT_BYTECODE in output
        assert modules(tmp_path) == shipped(root)
        assert not list(bytecode(tmp_path))

    def test_with_the_runtimes_python_it_ships_bytecode(
        self, run: Callable[..., str], tmp_path: Path
    ) -> None:
        assert ABOUT_BYTECODE not in self.make(run, tmp_path, RUNTIME_PYTHON=sys.executable)
        assert_compiled(tmp_path)

    @pytest.mark.parametrize("name", [*FUNCTIONS.values(), *WEB_FUNCTIONS.values()])
    def test_handlers_import_nothing_that_is_left_out(
        self, run: Callable[..., str], made: Path, name: str
    ) -> None:
        code = (
            f"import sys; sys.path.insert(0, {str(made)!r})\n"
            f"import handlers.{name}\n"
            f"print(handlers.{name}.__file__, *sys.modules, sep='\\n')"
        )
        where, *imported = run(sys.executable, "-B", "-c", code, cwd=made).splitlines()

        assert where.startswith(str(made))
        assert not [m for m in imported if re.match(r"asyncstream\.(lab|report|cli|arguments)\b", m)]
        # Nor may they import what only a transform needs. (urllib3 looks for zstd by itself.)
        assert not [m for m in imported if re.match(r"isal\b", m)]
