"""Benchmarks: the cost of a copy with asyncstream and with other libraries; see README.md."""
