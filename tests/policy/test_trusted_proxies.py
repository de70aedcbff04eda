from __future__ import annotations

import pytest

from hmacfs.policy.trusted_proxies import Trusted


@pytest.mark.parametrize(
    ("networks", "host", "want"),
    [
        ((), "127.0.0.1", False),
        ((), "unix", False),
        (("unix",), "unix", True),
        (("unix",), "127.0.0.1", False),
        (("127.0.0.1",), "unix", False),
        (("127.0.0.1",), "127.0.0.1", True),
        (("127.0.0.1",), "127.0.0.2", False),
        (("10.0.0.0/8",), "10.255.0.1", True),
        (("10.0.0.0/8",), "11.0.0.0", False),
        (("10.0.0.0/8",), "::ffff:10.1.2.3", True),
        (("::1",), "::1", True),
        (("::1",), "127.0.0.1", False),
        (("fe80::/10",), "fe80::1%eth0", True),
        (("0.0.0.0/0",), "2001:db8::1", False),
        (("192.0.2.0/24", "2001:db8::/32"), "2001:db8:1::1", True),
    ],
)
def test_who_is_trusted(networks: tuple[str, ...], host: str, want: bool) -> None:  # noqa: FBT001 - a table
    assert Trusted(networks).includes(host) is want
