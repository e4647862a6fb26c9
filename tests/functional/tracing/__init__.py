"""Spans sent to X-Ray's daemon, and who else uses its SDK."""
