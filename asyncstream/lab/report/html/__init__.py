"""The page of a comparison: one HTML file that needs no network."""

from asyncstream.lab.report.html.page import page

__all__ = ["page"]
