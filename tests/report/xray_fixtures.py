"""Replies of BatchGetTraces, read from `xray_documents`; the README there names their sources."""

import json
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).with_name("xray_documents")
NAMES = sorted(path.stem for path in FOLDER.glob("*.json"))


def documents_from(name: str) -> dict[str, Any]:
    """Return one element of `Traces`, as boto3 returns it."""
    trace: dict[str, Any] = json.loads((FOLDER / f"{name}.json").read_text())
    for segment in trace["Segments"]:
        segment["Document"] = json.dumps(segment["Document"])
    return trace
