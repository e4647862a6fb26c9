"""A local web for measurements: pages with rows, on many hosts, slow by a model and faulty on request.

`LabWeb` starts it in its own process. `Origin` is its server, which tests use with their own answers.
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
