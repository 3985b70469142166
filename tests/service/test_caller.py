"""Callers: one for each address, and for each network of IPv6."""

import pytest

from service.caller import caller_of


@pytest.mark.parametrize(
    ("host", "caller"),
    [
        ("192.0.2.7", "192.0.2.7"),
        ("::ffff:192.0.2.7", "192.0.2.7"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("2001:db8:1:2:ffff::1", "2001:db8:1:2::/64"),
        ("2001:db8:1:3::1", "2001:db8:1:3::/64"),
        ("fe80::1%eth0", "fe80::/64"),
        ("no:address", "no:address"),
        ("testclient", "testclient"),
    ],
)
def test_a_caller_is_an_address_or_a_network(host: str, caller: str) -> None:
    """Who has a network of IPv6 has all of its addresses, and is one caller by any of them."""
    assert caller_of(host) == caller
