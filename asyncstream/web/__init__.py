"""Request URLs within limits: one fetcher of pages and files over two HTTP libraries.

Only `FetchConfig` is imported here: most functions request no URL, and their cold start should not load the
rest.
"""

from asyncstream.web.config import FetchConfig

__all__ = ["FetchConfig"]
