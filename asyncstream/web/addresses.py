"""Which addresses may be connected to. Does no I/O.

Third parties choose the URLs of pages, redirects and the addresses of host names. They must not reach
services that only this machine and its network can reach: the credentials at 169.254.169.254, a database, a
router.

An IPv4 address is allowed unless it is multicast or in a network of IANA's special-purpose registry. An IPv6
address is allowed if it is global unicast (2000::/3) and not in a special network of that range. This module
has its own list because `ipaddress.is_global` differs between Python 3.11, 3.12 and 3.13. The list refuses
more than `is_global`: the relays of 6to4, and all of 6to4 and Teredo, since their traffic can end anywhere.
"""

import ipaddress
from collections.abc import Iterable

from asyncstream.errors import AddressRefused, ConfigError

Network = ipaddress.IPv4Network | ipaddress.IPv6Network
Address = ipaddress.IPv4Address | ipaddress.IPv6Address

# Networks that serve credentials or reach the machine itself. No setting allows them.
_NEVER = {
    "169.254.0.0/16": "link-local: credentials are served there",
    "fe80::/10": "link-local",
    "fd00:ec2::/32": "AWS's own services: credentials are served there",
    "168.63.129.16/32": "Azure's own services",
}
# IANA IPv4 Special-Purpose Address Registry, IANA IPv6 Special-Purpose Address Registry, RFC 5771.
_SPECIAL = {
    "0.0.0.0/8": "this network",
    "10.0.0.0/8": "private",
    "100.64.0.0/10": "shared by a carrier's customers",
    "127.0.0.0/8": "loopback",
    "172.16.0.0/12": "private",
    "192.0.0.0/24": "reserved for protocols",
    "192.0.2.0/24": "documentation",
    "192.31.196.0/24": "reserved for AS112",
    "192.52.193.0/24": "reserved for AMT",
    "192.88.99.0/24": "the relays of 6to4",
    "192.168.0.0/16": "private",
    "192.175.48.0/24": "reserved for AS112",
    "198.18.0.0/15": "benchmarks",
    "198.51.100.0/24": "documentation",
    "203.0.113.0/24": "documentation",
    "224.0.0.0/4": "multicast",
    "240.0.0.0/4": "reserved, or broadcast",
    "2001::/23": "reserved for protocols, Teredo among them",
    "2001:db8::/32": "documentation",
    "2002::/16": "6to4",
    "2620:4f:8000::/48": "reserved for AS112",
    "3fff::/20": "documentation",
}
_ALL = (ipaddress.IPv4Network("0.0.0.0/0"), ipaddress.IPv6Network("::/0"))
_GLOBAL_UNICAST = ipaddress.IPv6Network("2000::/3")
# IPv6 addresses that stand for the IPv4 address in their last 32 bits: RFC 4291 (2.5.5.2), RFC 6052. NAT64's
# other prefix, 64:ff9b:1::/48, is missing: the position of the IPv4 address in it is not fixed.
_STANDING_FOR_IPV4 = (ipaddress.IPv6Network("::ffff:0:0/96"), ipaddress.IPv6Network("64:ff9b::/96"))


def _networks(table: dict[str, str]) -> tuple[tuple[Network, str], ...]:
    return tuple((ipaddress.ip_network(text), meaning) for text, meaning in table.items())


_NEVER_NETWORKS, _SPECIAL_NETWORKS = _networks(_NEVER), _networks(_SPECIAL)


def parse_networks(allowed: Iterable[str]) -> tuple[Network, ...]:
    """Parse networks such as "127.0.0.0/8" or "10.1.2.3".

    Raises:
        ConfigError: one is not a network, or is a network that is never allowed.
    """
    networks = []
    for text in allowed:
        try:
            network = ipaddress.ip_network(text)
        except (ValueError, TypeError) as error:
            raise ConfigError(
                f'allowed network {text!r} is not a network: write "10.0.0.0/8" or "fd00::/8" ({error})'
            ) from error
        for never, meaning in _NEVER_NETWORKS:
            if network.version == never.version and network.subnet_of(never):  # type: ignore[arg-type]
                raise ConfigError(f"network {text!r} cannot be allowed: {never} is {meaning}")
        networks.append(network)
    return tuple(networks)


def why_refused(address: str, allowed: Iterable[Network] = ()) -> str:
    """Return why an address must not be connected to; an empty string if it may be.

    Args:
        address: the address as `getaddrinfo` returns it.
        allowed: networks that may be connected to although they are special.
    """
    try:
        found = _embedded_ipv4(ipaddress.ip_address(address))
    except ValueError:  # not for an IPv6 address with a zone: ip_address accepts it
        return "not an address"
    if isinstance(found, ipaddress.IPv6Address) and found.scope_id is not None:
        return "an address of one network card"
    never = next((meaning for network, meaning in _NEVER_NETWORKS if found in network), "")
    if never or any(found in network for network in allowed):
        return never
    if isinstance(found, ipaddress.IPv6Address) and found not in _GLOBAL_UNICAST:
        return "not a global unicast address: loopback, private, multicast or reserved"
    return next((meaning for network, meaning in _SPECIAL_NETWORKS if found in network), "")


def check(address: str, host: str, allowed: Iterable[Network] = ()) -> None:
    """Raise AddressRefused if this address of `host` must not be connected to."""
    reason = why_refused(address, allowed)
    if reason:
        where = host if host == address else f"{host} has the address {address}, which"
        advice = "" if why_refused(address, _ALL) else "; to allow it, add its network to `allowed_networks`"
        raise AddressRefused(f"{where} must not be connected to: it is {reason}; nothing was sent{advice}")


def _embedded_ipv4(address: Address) -> Address:
    """Return the IPv4 address that an IPv6 address stands for, otherwise the address itself."""
    if any(address in network for network in _STANDING_FOR_IPV4):
        return ipaddress.IPv4Address(int(address) & 0xFFFF_FFFF)
    return address
