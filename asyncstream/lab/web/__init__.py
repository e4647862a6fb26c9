"""A web to measure against: pages with rows, of many hosts, slow by a model and faulty on request.

`LabWeb` starts it as a process of its own; `Origin` is its server, which tests give answers of their own.
"""

from asyncstream.lab.web.client import LabWeb
from asyncstream.lab.web.model import WebModel, least_seconds, rows_of_page
from asyncstream.lab.web.server import CLOSE, RESET, Answer, Asked, Origin

__all__ = [
    "CLOSE",
    "RESET",
    "Answer",
    "Asked",
    "LabWeb",
    "Origin",
    "WebModel",
    "least_seconds",
    "rows_of_page",
]
