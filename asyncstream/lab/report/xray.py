"""Converts X-Ray's documents to a tree of spans. Does no I/O.

`BatchGetTraces` returns the documents (X-Ray developer guide, "Segment documents"). A span may be within
another document or its own, in any order. It may arrive in progress and then again complete. X-Ray infers
spans for services that send none. A span may be missing because X-Ray dropped it or has not received it.
"""

from collections.abc import Iterator, Mapping
from typing import Any

import msgspec

from asyncstream.lab.report.spans import Span, Trace

Document = dict[str, Any]


def parse_trace(trace: Mapping[str, Any]) -> Trace:
    """Return the trace of one element of BatchGetTraces' `Traces`. Unreadable documents are its problems."""
    problems: list[str] = []
    sent = [document for text in _texts(trace) for document in _decoded(text, problems)]
    by_id: dict[str, Document] = {}
    parents: dict[str, str] = {}
    for document, parent in (pair for one in sent for pair in _flat(one)):
        known = by_id.get(document["id"])
        by_id[document["id"]] = document if known is None else _later(known, document)
        parent_id = document.get("parent_id") or parent
        if parent_id:
            parents[document["id"]] = parent_id
    children: dict[str, list[Document]] = {}
    roots = []
    for span_id, document in by_id.items():
        parent_id = parents.get(span_id)
        if parent_id is None or _leads_back(span_id, parents):
            roots.append(document)
        elif parent_id in by_id:
            children.setdefault(parent_id, []).append(document)
        else:
            roots.append(document)
            problems.append(
                f"{document.get('name', '?')} {span_id}: its parent {parent_id} is not in the trace"
            )
    return Trace(
        id=str(trace.get("Id", "")),
        roots=[_span(root, children) for root in sorted(roots, key=_start)],
        limit_exceeded=bool(trace.get("LimitExceeded", False)),
        problems=problems,
    )


def _texts(trace: Mapping[str, Any]) -> Iterator[str]:
    for segment in trace.get("Segments", ()):
        yield segment["Document"]


def _decoded(text: str, problems: list[str]) -> Iterator[Document]:
    """Yield the document if it is usable, else add a problem."""
    try:
        document = msgspec.json.decode(text)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        problems.append(f"a document is not JSON: {error}")
        return
    if not isinstance(document, dict) or not isinstance(document.get("id"), str):
        problems.append(f"a document has no id: {text[:80]}")
    elif not isinstance(document.get("start_time"), int | float):
        problems.append(f"{document.get('name', '?')} {document['id']}: it has no start_time")
    else:
        yield document


def _flat(document: Document) -> Iterator[tuple[Document, str | None]]:
    """Yield a document and all documents within it, each with its parent's ID."""
    waiting: list[tuple[Document, str | None]] = [(document, None)]
    while waiting:
        document, parent = waiting.pop()
        yield document, parent
        waiting += [
            (child, document["id"])
            for child in document.get("subsegments") or ()
            if isinstance(child, dict) and {"id", "start_time"} <= child.keys()
        ]


def _later(one: Document, other: Document) -> Document:
    """Return the complete one of two documents of a span, which may be sent at its start and at its end."""
    return other if one.get("in_progress") or "end_time" not in one else one


def _leads_back(span_id: str, parents: Mapping[str, str]) -> bool:
    """Return whether a span is its own ancestor, which only a broken sender reports."""
    seen = {span_id}
    parent = parents.get(span_id)
    while parent is not None and parent not in seen:
        seen.add(parent)
        parent = parents.get(parent)
    return parent == span_id


def _span(document: Document, children: Mapping[str, list[Document]]) -> Span:
    within = sorted(children.get(document["id"], ()), key=_start)
    end = None if document.get("in_progress") else document.get("end_time")
    return Span(
        id=document["id"],
        name=str(document.get("name", "?")),
        start=float(document["start_time"]),
        end=None if end is None else float(end),
        annotations=dict(document.get("annotations") or {}),
        metadata=dict(document.get("metadata") or {}),
        error=_error(document),
        inferred=bool(document.get("inferred", False)),
        kind=str(document.get("origin") or ""),
        children=[_span(child, children) for child in within],
    )


def _start(document: Document) -> float:
    return float(document["start_time"])


def _error(document: Document) -> str | None:
    """Return the exception, or else the failure flag with the reply's status, or None."""
    cause = document.get("cause")
    exceptions = cause.get("exceptions") if isinstance(cause, dict) else None
    if exceptions:
        first = exceptions[0]
        return ": ".join(filter(None, (first.get("type"), first.get("message")))) or "exception"
    flags = [flag for flag in ("throttle", "fault", "error") if document.get(flag)]
    if not flags:
        return None
    status = ((document.get("http") or {}).get("response") or {}).get("status")
    return flags[0] if status is None else f"{flags[0]}, status {status}"
