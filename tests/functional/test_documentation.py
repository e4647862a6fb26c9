"""The tests in `docs/testing.md` pass, as a reader would run them."""

import os
import re
import subprocess
import sys
from pathlib import Path

from tests.servers.base import GUARD_SECONDS

ROOT = Path(__file__).parents[2]
BLOCK = re.compile(r"^```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)
PYTEST = [sys.executable, "-m", "pytest", "-q", "-W", "error", "-p", "no:cacheprovider", "-p", "no:asyncio"]


def test_the_tests_that_the_documentation_shows_pass(tmp_path: Path) -> None:
    blocks = BLOCK.findall((ROOT / "docs" / "testing.md").read_text())
    for number, code in enumerate(blocks):
        (tmp_path / f"test_{number}.py").write_text(code)
    others = {
        name: value for name, value in os.environ.items() if not name.startswith(("AWS_", "ASYNCSTREAM_"))
    }

    ended = subprocess.run(
        [*PYTEST, tmp_path],
        cwd=tmp_path,
        env=others | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=GUARD_SECONDS,
        check=False,
    )

    assert "3 passed" in ended.stdout, ended.stdout + ended.stderr
