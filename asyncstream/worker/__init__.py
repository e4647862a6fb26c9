"""A worker that takes batches from a queue, and what fills the queue. See `docs/runs.md`."""
