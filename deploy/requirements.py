"""Print a layer's requirements from pyproject.toml: `requirements.py 3.14 . xray`. "." is the package itself.

This script evaluates the markers because pip evaluates them for its own Python version. Only `python_version`
is the layer's. A marker about the machine would be evaluated for this machine.
"""

import sys
import tomllib
from pathlib import Path

# pip is installed, because the build runs it next. `packaging` may not be installed.
from pip._vendor.packaging.requirements import Requirement

version, *names = sys.argv[1:]
project = tomllib.loads((Path(__file__).parents[1] / "pyproject.toml").read_text())["project"]
groups = {".": project["dependencies"], **project["optional-dependencies"]}
for requirement in (Requirement(line) for name in names for line in groups[name]):
    if requirement.name == project["name"]:  # an extra that includes another one: name that one, too
        continue
    if requirement.marker is None or requirement.marker.evaluate({"python_version": version}):
        requirement.marker = None
        print(requirement)  # noqa: T201
