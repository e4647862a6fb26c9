"""`make soak`: thousands of copies under faults."""
