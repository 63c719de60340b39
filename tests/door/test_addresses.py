"""Who a client is for the limits."""

import pytest

from flowd.door.addresses import counted, is_local, most, who
from flowd.door.head import parse_head
from flowd.values.limits import Limits


@pytest.mark.parametrize(
    ("address", "as_what"),
    [
        ("local", "local"),
        ("192.0.2.1", "192.0.2.1"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("fe80::1%eth0", "fe80::/64"),
        ("::1", "::1"),
        ("::ffff:192.0.2.1", "192.0.2.1"),
        ("no:address", "no:address"),
    ],
)
def test_an_ipv6_address_counts_as_its_network(address: str, as_what: str) -> None:
    assert counted(address) == as_what


def test_only_a_trusted_proxy_says_who_else_it_is() -> None:
    head = parse_head(b"GET / HTTP/1.1\r\nHost: h\r\nX-Forwarded-For: 9.9.9.9, 2001:db8::1\r\n\r\n")
    limits = Limits(trusted_proxies=frozenset({"127.0.0.1"}))

    assert who("127.0.0.1", head, limits) == "2001:db8::/64"
    assert who("192.0.2.1", head, limits) == "192.0.2.1"


def test_this_machine_s_own_addresses_may_have_all_unless_that_is_set() -> None:
    assert is_local("127.8.8.8")
    assert most("127.0.0.1", None, 5, 100) == 100
    assert most("127.0.0.1", 7, 5, 100) == 7
    assert most("192.0.2.1", None, 5, 100) == 5
