"""CONTRIBUTING's tree lists every room, and each module of the package's top and its pipeline."""

from pathlib import Path

ROOT = Path(__file__).parents[2]


def listed() -> set[str]:
    """Return the paths in the tree; two more spaces mean one folder deeper."""
    tree = (ROOT / "CONTRIBUTING.md").read_text().split("```\n")[1]
    paths: set[str] = set()
    rooms: list[str] = []
    for line in tree.splitlines():
        depth = (len(line) - len(line.lstrip())) // 2
        rooms[depth:] = [line.split()[0].strip("/")]
        paths.add("/".join(rooms))
    return paths


def modules(room: str) -> set[str]:
    return {f"{room}/{path.name}" for path in (ROOT / room).glob("*.py") if path.name != "__init__.py"}


def test_every_room_and_its_modules_are_in_the_tree() -> None:
    folders = {str(path.parent.relative_to(ROOT)) for path in (ROOT / "asyncstream").rglob("*.py")}
    there = folders | modules("asyncstream") | modules("asyncstream/pipeline")

    assert {path for path in listed() if path.startswith("asyncstream")} == there


def test_the_rest_of_the_tree_is_there() -> None:
    assert [path for path in listed() if not (ROOT / path).exists()] == []
