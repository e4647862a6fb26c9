"""Pure decisions, and the coordinator over a store in memory."""
