"""Print what a layer needs of pyproject.toml: `requirements.py 3.14 . xray`, "." being the package itself.

Markers are evaluated here: pip evaluates them for the Python it runs in, whose version is another. Only
`python_version` is the layer's; a marker of the machine would be that of this one.
"""

import sys
import tomllib
from pathlib import Path

# pip runs next, so it is here, and `packaging` may not be.
from pip._vendor.packaging.requirements import Requirement

version, *names = sys.argv[1:]
project = tomllib.loads((Path(__file__).parents[1] / "pyproject.toml").read_text())["project"]
groups = {".": project["dependencies"], **project["optional-dependencies"]}
for requirement in (Requirement(line) for name in names for line in groups[name]):
    if requirement.marker is None or requirement.marker.evaluate({"python_version": version}):
        requirement.marker = None
        print(requirement)  # noqa: T201
