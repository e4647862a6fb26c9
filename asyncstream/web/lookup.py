"""Look up the addresses of a host once and check them.

The caller connects to one of these addresses and does not look the name up again, so a name that changes
after the check has no effect.
"""

import socket
from collections.abc import Sequence
from concurrent.futures import Future

from msgspec import Struct

from asyncstream.engines.aside import start_aside
from asyncstream.errors import ConnectionFailed, HostNotFound
from asyncstream.web.addresses import Network, check

# The resolver's errors for a name that has no address. Retrying does not help.
_NO_SUCH_NAME = frozenset(
    getattr(socket, name) for name in ("EAI_NONAME", "EAI_NODATA") if hasattr(socket, name)
)


class Resolved(Struct, frozen=True):
    """One address of a host."""

    family: int
    address: str
    port: int


def resolve(host: str, port: int, allowed: Sequence[Network]) -> list[Resolved]:
    """Return the addresses of a host, all of which may be connected to.

    Raises:
        AddressRefused: one of them may not be connected to. A name with both kinds of addresses is not
            trusted.
        HostNotFound: there is no such name.
        ConnectionFailed: the lookup failed.
    """
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_ADDRCONFIG)
    except socket.gaierror as error:
        kind = HostNotFound if error.errno in _NO_SUCH_NAME else ConnectionFailed
        raise kind(f"the address of {host} could not be looked up: {error.strerror}") from error
    except (UnicodeError, ValueError) as error:
        raise HostNotFound(f"{host!r} is not a host name: {error}") from error
    addresses = [Resolved(family, str(sockaddr[0]), port) for family, _, _, _, sockaddr in found]
    for each in addresses:
        check(each.address, host, allowed)
    if not addresses:
        raise HostNotFound(f"{host} has no address")
    return addresses


def start_lookup(host: str, port: int, allowed: Sequence[Network]) -> Future[list[Resolved]]:
    """Start a lookup on a thread of its own; the caller decides how long to wait for the result."""
    return start_aside(lambda: resolve(host, port, allowed))


def lookup_timeout(host: str) -> ConnectionFailed:
    """Return the error for a lookup that took too long."""
    return ConnectionFailed(f"{host}: its address was not found in time")
