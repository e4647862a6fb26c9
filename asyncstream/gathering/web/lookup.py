"""A host's addresses, looked up once and checked. No other address is connected to.

Between this check and the connection nobody asks the name again, so it cannot mean another address by then.
"""

import socket
from collections.abc import Sequence
from concurrent.futures import Future

from msgspec import Struct

from asyncstream.engines.aside import aside
from asyncstream.errors import ConnectionFailed, HostNotFound
from asyncstream.gathering.web.addresses import Network, check

# What a resolver says of a name that has no address now and will have none in a second.
_NO_SUCH_NAME = frozenset(
    getattr(socket, name) for name in ("EAI_NONAME", "EAI_NODATA") if hasattr(socket, name)
)


class Resolved(Struct, frozen=True):
    """One address of a host."""

    family: int
    address: str
    port: int


def resolved(host: str, port: int, allowed: Sequence[Network]) -> list[Resolved]:
    """The addresses of a host, of which every one may be connected to.

    Raises:
        AddressRefused: one of them may not: a name that means both kinds is not to be trusted with any.
        HostNotFound: there is no such name.
        ConnectionFailed: nobody could tell.
    """
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_ADDRCONFIG)
    except socket.gaierror as error:
        kind = HostNotFound if error.errno in _NO_SUCH_NAME else ConnectionFailed
        raise kind(f"{host} has no address that could be looked up: {error.strerror}") from error
    except (UnicodeError, ValueError) as error:
        raise HostNotFound(f"{host!r} is no name of a host: {error}") from error
    addresses = [Resolved(family, str(told[0]), port) for family, _, _, _, told in found]
    for each in addresses:
        check(each.address, host, allowed)
    if not addresses:
        raise HostNotFound(f"{host} has no address")
    return addresses


def looked_up(host: str, port: int, allowed: Sequence[Network]) -> Future[list[Resolved]]:
    """The same, aside: whoever waits for it decides for how long."""
    return aside(lambda: resolved(host, port, allowed))


def too_slow(host: str) -> ConnectionFailed:
    """What to raise when it was waited for long enough."""
    return ConnectionFailed(f"{host}: its address was not found in time")
