"""The page of a comparison: one HTML file that needs no network; written by `asyncstream compare --html`."""

from asyncstream.lab.report.html.page import page

__all__ = ["page"]
