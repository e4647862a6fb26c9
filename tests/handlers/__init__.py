"""The Lambda functions: events, replies, mutated events."""
