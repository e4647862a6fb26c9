"""The events that invoke a handler, and the reply that each expects."""
