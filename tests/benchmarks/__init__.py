"""What a copy costs, ours and others', on the same bytes: `python -m tests.benchmarks`; see README.md."""
