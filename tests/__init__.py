"""The tests, a room for each kind, and what they share."""
