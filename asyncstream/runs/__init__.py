"""Runs: a plan of batches in S3, and the workers that move them. See `docs/runs.md`."""
