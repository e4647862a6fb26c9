"""What invoked a handler, and the reply it expects. Direct invocations so far."""
