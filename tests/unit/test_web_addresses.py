"""Which addresses the client may connect to, and which networks users may allow."""

import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asyncstream.errors import AddressRefused, ConfigError
from asyncstream.web.addresses import check, parse_networks, why_refused

PUBLIC = [
    "1.1.1.1", "8.8.8.8", "52.95.110.1", "100.63.255.255", "100.128.0.0", "126.255.255.255", "128.0.0.0",
    "169.253.255.255", "169.255.0.0", "172.15.255.255", "172.32.0.0", "192.167.255.255", "223.255.255.255",
    "2606:4700::1111", "2a00:1450:4001::1", "2001:200::1", "::ffff:8.8.8.8", "64:ff9b::808:808",
]  # fmt: skip
REFUSED = [
    "127.0.0.1", "127.255.255.255", "0.0.0.0", "0.1.2.3", "10.0.0.0", "10.255.255.255", "172.16.0.0",
    "172.31.255.255", "192.168.0.0", "192.168.255.255", "100.64.0.0", "100.127.255.255", "100.100.100.200",
    "169.254.0.0", "169.254.169.254", "169.254.170.2", "169.254.255.255", "192.0.0.1", "192.0.0.192",
    "192.0.2.1", "192.88.99.1", "198.18.0.1", "198.19.255.255", "198.51.100.1", "203.0.113.1", "224.0.0.1",
    "239.255.255.255", "240.0.0.1", "255.255.255.255", "168.63.129.16",
    "::", "::1", "::2", "::127.0.0.1", "::8.8.8.8", "::ffff:127.0.0.1", "::ffff:10.0.0.1",
    "::ffff:169.254.169.254", "::ffff:0:127.0.0.1", "64:ff9b::7f00:1", "64:ff9b::a9fe:a9fe",
    "64:ff9b:1::808:808", "100::1", "2001::1", "2001:0:808:808::1", "2001:2::1", "2001:10::1", "2001:20::1",
    "2001:db8::1", "2002:7f00:1::1", "2002:808:808::1", "3fff::1", "3fff:fff::1", "5f00::1", "fc00::1",
    "fd00::1", "fd00:ec2::254", "fd00:ec2::23", "fe80::1", "fe80::1%eth0", "fec0::1", "ff02::1", "ff0e::1",
    "4000::1", "2606:4700::1111%1",
]  # fmt: skip

addresses = st.one_of(
    st.integers(0, 2**32 - 1).map(ipaddress.IPv4Address),
    st.integers(0, 2**128 - 1).map(ipaddress.IPv6Address),
    st.integers(0, 2**125 - 1).map(lambda low: ipaddress.IPv6Address((1 << 125) | low)),
)


@pytest.mark.parametrize("address", PUBLIC)
def test_a_public_address_may_be_connected_to(address: str) -> None:
    assert why_refused(address) == ""


@pytest.mark.parametrize("address", REFUSED)
def test_a_special_address_may_not(address: str) -> None:
    with pytest.raises(AddressRefused, match="must not be connected to"):
        check(address, address)


@pytest.mark.parametrize(("address", "advised"), [("127.0.0.1", True), ("169.254.169.254", False)])
def test_a_refusal_says_how_to_allow_the_address(address: str, advised: bool) -> None:
    with pytest.raises(AddressRefused) as refused:
        check(address, address)
    assert ("allowed_networks" in str(refused.value)) is advised


@pytest.mark.parametrize(
    "text", ["", "localhost", "2130706433", "0x7f.1", "127.1", "0177.0.0.1", "1.2.3.4.5"]
)
def test_what_is_no_address_is_refused(text: str) -> None:
    assert why_refused(text) == "not an address"


@given(addresses)
def test_no_address_that_pythons_list_refuses_is_allowed(
    address: ipaddress.IPv4Address | ipaddress.IPv6Address,
) -> None:
    """Python versions have different lists; ours must be as strict as any of them."""
    if why_refused(str(address)) == "":
        assert address.is_global
        assert not address.is_multicast


@given(st.integers(0, 2**32 - 1))
def test_an_ipv4_address_written_as_ipv6_is_judged_as_itself(number: int) -> None:
    plain = ipaddress.IPv4Address(number)
    for prefix in ("::ffff:0:0", "64:ff9b::"):
        written = ipaddress.IPv6Address(int(ipaddress.IPv6Address(prefix)) + number)
        assert why_refused(str(written)) == why_refused(str(plain))


def test_an_allowed_network_allows_what_is_in_it_and_no_more() -> None:
    allowed = parse_networks(["127.0.0.0/8", "10.1.2.3", "fd12::/16"])
    assert not any(why_refused(each, allowed) for each in ("127.1.2.3", "10.1.2.3", "fd12::1", "8.8.8.8"))
    assert all(why_refused(each, allowed) for each in ("10.1.2.4", "192.168.0.1", "fd13::1", "::1"))
    assert why_refused("::ffff:127.0.0.1", allowed) == ""


@pytest.mark.parametrize("address", ["169.254.169.254", "fd00:ec2::254", "fe80::1", "::ffff:169.254.169.254"])
def test_where_credentials_are_served_is_never_allowed(address: str) -> None:
    assert why_refused(address, parse_networks(["0.0.0.0/0", "::/0"]))


@pytest.mark.parametrize(
    ("network", "expected_message"),
    [
        ("localhost", "is not a network"),
        ("10.0.0.1/8", "host bits"),
        ("10.0.0.0/33", "is not a network"),
        ("169.254.169.254", "cannot be allowed"),
        ("fd00:ec2::/64", "cannot be allowed"),
        ("", "is not a network"),
    ],
)
def test_a_network_that_cannot_be_allowed_is_named(network: str, expected_message: str) -> None:
    with pytest.raises(ConfigError, match=expected_message):
        parse_networks([network])
