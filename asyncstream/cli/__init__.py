"""The command line: `asyncstream copy`, `clean` and `compare`."""
