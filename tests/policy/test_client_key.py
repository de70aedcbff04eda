"""Under which key a client is known."""

from __future__ import annotations

import pytest

from hmacfs.policy import client_key

SECRET = client_key.derive(b"a secret of the site, long enough for it")


@pytest.mark.parametrize(
    ("host", "owner", "want"),
    [
        ("203.0.113.7", "", b"203.0.113.7/32"),
        ("::ffff:203.0.113.7", "", b"203.0.113.7/32"),
        ("2001:db8:1:2:3:4:5:6", "", b"2001:db8:1:2::/64"),
        ("2001:db8:1:2::", "", b"2001:db8:1:2::/64"),
        ("fe80::1%eth0", "", b"fe80::/64"),
        ("203.0.113.7", "me@example.org", b"owner me@example.org"),
        ("unix", "me@example.org", b"owner me@example.org"),
        ("unix", "", None),
        ("", "", None),
    ],
)
def test_the_name_of_a_client(host: str, owner: str, want: bytes | None) -> None:
    assert client_key.key(host, owner, None) == want


def test_a_hash_tells_clients_apart_and_nothing_more() -> None:
    hosts = [f"203.0.113.{n}" for n in range(256)]
    keys = [client_key.key(host, "", SECRET) for host in hosts]
    assert len(set(keys)) == 256
    assert {len(key or b"") for key in keys} == {16}
    assert client_key.key(hosts[0], "", SECRET) == keys[0]
    assert client_key.key(hosts[0], "", client_key.derive(b"another secret")) not in keys
    assert client_key.key("203.0.113.7", "203.0.113.8/32", SECRET) not in keys
