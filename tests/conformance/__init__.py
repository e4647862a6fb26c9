"""One suite for every engine and server."""
