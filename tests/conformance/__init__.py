"""One suite for every engine and server."""

# The engines with clients of their own. sequential has the client of threads.
CLIENTS = ("threads", "asyncio")
