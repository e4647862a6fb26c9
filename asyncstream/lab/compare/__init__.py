"""The local comparison: every way to do the same work, each in a fresh process, against the same servers."""
