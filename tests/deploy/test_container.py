"""`deploy/Containerfile`: what can be checked without building it; and the permissions of its workers."""

import json
import re
import tomllib
from pathlib import Path
from typing import NamedTuple

import pytest

from asyncstream.worker.sqs_queue import PERMISSIONS

ROOT = Path(__file__).parents[2]


class Instruction(NamedTuple):
    name: str
    text: str


def parse(content: str) -> list[Instruction]:
    """Return the instructions of a Containerfile, with continued lines joined and comments left out."""
    lines = [line for line in content.splitlines() if not line.lstrip().startswith("#")]
    whole = re.sub(r"\\\n\s*", "", "\n".join(lines))
    return [Instruction(*line.split(None, 1)) for line in whole.splitlines() if line.strip()]


@pytest.fixture(scope="module")
def instructions() -> list[Instruction]:
    return parse((ROOT / "deploy" / "Containerfile").read_text())


@pytest.fixture(scope="module")
def last_stage(instructions: list[Instruction]) -> dict[str, str]:
    """The instructions of the image itself, each name once."""
    begin = max(number for number, each in enumerate(instructions) if each.name == "FROM")
    stage = instructions[begin:]
    assert len({each.name for each in stage}) == len(stage)
    return dict(stage)


@pytest.fixture(scope="module")
def project() -> dict[str, object]:
    found: dict[str, object] = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    return found


def test_continued_lines_and_comments_are_parsed() -> None:
    assert parse("# a\nFROM x AS y\n\nRUN a \\\n    && b\n") == [("FROM", "x AS y"), ("RUN", "a && b")]


def test_everything_that_is_copied_exists(instructions: list[Instruction]) -> None:
    copies = [each.text.split() for each in instructions if each.name == "COPY"]
    sources = [name for words in copies if not words[0].startswith("--") for name in words[:-1]]
    assert "asyncstream" in sources
    assert [name for name in sources if not (ROOT / name).exists()] == []


def test_everything_that_the_package_reads_is_copied(
    instructions: list[Instruction], project: dict[str, object]
) -> None:
    """setuptools reads the files that pyproject.toml names."""
    copied = {word for each in instructions if each.name == "COPY" for word in each.text.split()}
    assert isinstance(project["license-files"], list)
    assert {"pyproject.toml", str(project["readme"]), *project["license-files"]} <= copied


def test_the_base_images_have_one_version(instructions: list[Instruction]) -> None:
    bases = {each.text.partition(" AS ")[0] for each in instructions if each.name == "FROM"}
    assert len(bases) == 1
    assert re.fullmatch(r"docker\.io/library/python:3\.\d+-slim-\w+(@sha256:[0-9a-f]{64})?", bases.pop())


def test_the_python_is_the_newest_that_is_supported(
    instructions: list[Instruction], project: dict[str, object]
) -> None:
    used = re.search(r"python:(3\.\d+)", instructions[0].text)
    assert used is not None
    assert isinstance(project["classifiers"], list)
    versions = [each.rpartition(" ")[2] for each in project["classifiers"] if "Python :: 3." in each]
    assert used[1] == versions[-1]


def test_signals_reach_the_command_itself(last_stage: dict[str, str], project: dict[str, object]) -> None:
    """A shell, as of an entry point that is not a list, would not pass SIGTERM on."""
    entry = json.loads(last_stage["ENTRYPOINT"])
    assert isinstance(project["scripts"], dict)
    assert entry == [name for name in project["scripts"] if name == "asyncstream"]
    assert isinstance(json.loads(last_stage["CMD"]), list)
    assert last_stage["STOPSIGNAL"] == "SIGTERM"


def test_the_user_is_a_number_and_not_root(last_stage: dict[str, str]) -> None:
    user, _, group = last_stage["USER"].partition(":")
    assert int(user) >= 1000
    assert int(group) >= 1000


def test_the_tested_versions_are_installed(
    instructions: list[Instruction], project: dict[str, object]
) -> None:
    [run] = [each.text for each in instructions if each.name == "RUN"]
    assert "--constraint constraints.txt" in run
    extras = re.search(r"'\.\[([\w,]+)\]'", run)
    assert extras is not None
    assert isinstance(project["optional-dependencies"], dict)
    assert set(extras[1].split(",")) <= project["optional-dependencies"].keys()
    assert "compileall" in run


def test_no_secret_is_built_in(instructions: list[Instruction]) -> None:
    set_ones = " ".join(each.text for each in instructions if each.name in {"ARG", "ENV", "LABEL"})
    assert not re.search("(?i)secret|token|passw|credential|_key|aws", set_ones)


def test_the_guide_has_each_permission_for_queues() -> None:
    guide = (ROOT / "deploy" / "README.md").read_text()
    rows = re.findall(r"^\| `(sqs:\w+)` \| [^|`]+ \| [^|]+ \|$", guide, re.MULTILINE)
    assert sorted(rows) == sorted(set(PERMISSIONS.values()))
