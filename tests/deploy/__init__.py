"""The template, its permissions, its state machine."""
