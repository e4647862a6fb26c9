"""Thousands of copies under faults: `make soak`."""
