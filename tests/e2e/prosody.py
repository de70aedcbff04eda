"""A real Prosody whose upload components hand out slots of the hmacfs under test.

One virtual host per way to hmacfs and kind of token, each with its own upload component, so that a client
finds the one it is to use by service discovery, as clients do.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import subprocess
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING

import loopback

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

PEOPLE = ("alice", "bob")
PASSWORD = "correct-horse"
HMAC_SECRET = secrets.token_hex(32)
JWT_SECRET = secrets.token_hex(32)
KINDS = ("v1", "v2", "jwt")

GLOBAL = """
run_as_root = true
pidfile = "{state}/prosody.pid"
data_path = "{state}/data"
ssl = {{ certificate = "{state}/crt.pem"; key = "{state}/key.pem" }}
interfaces = {{ "{host}" }}
c2s_ports = {{ {port} }}
s2s_ports = {{ }}
http_ports = {{ }}
https_ports = {{ }}
modules_enabled = {{ "roster"; "saslauth"; "tls"; "disco"; "ping"; "posix" }}
modules_disabled = {{ "s2s" }}
plugin_paths = {{ "/usr/lib/prosody/modules" }}
allow_registration = false
c2s_require_encryption = false
allow_unencrypted_plain_auth = true
authentication = "internal_plain"
storage = "internal"
log = {{ debug = "{state}/prosody.log" }}
"""
VIRTUAL_HOST = """
VirtualHost "{host}"
Component "upload.{host}" "{module}"
"""
EXTERNAL = """
  http_upload_external_base_url = "{base}"
  http_upload_external_secret = "{secret}"
  http_upload_external_protocol = "{kind}"
"""
FILE_SHARE = """
  http_file_share_base_url = "{base}"
  http_file_share_secret = "{secret}"
  http_file_share_size_limit = 1073741824
  http_file_share_daily_quota = 107374182400
  http_file_share_expires_after = {keep_s}
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Domain:
    """One virtual host: its name, and where its component sends uploads."""

    name: str
    kind: str
    """Of KINDS."""
    base: str
    """Base URL of an hmacfs endpoint, ends in "/"."""
    keep_s: int = 7 * 86400
    """Prosody's retention; only JWT carries it."""

    @property
    def service(self) -> str:
        """Address of the upload component."""
        return f"upload.{self.name}"

    def text(self) -> str:
        """Return its part of the configuration."""
        external = self.kind != "jwt"
        module = "http_upload_external" if external else "http_file_share"
        options = EXTERNAL if external else FILE_SHARE
        return VIRTUAL_HOST.format(host=self.name, module=module) + options.format(
            base=self.base,
            secret=HMAC_SECRET if external else JWT_SECRET,
            kind=self.kind,
            keep_s=self.keep_s,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Prosody:
    """A running Prosody."""

    host: str
    port: int
    state: Path

    @property
    def address(self) -> str:
        """Where clients connect, host:port."""
        return f"{self.host}:{self.port}"


@contextlib.contextmanager
def running(state: Path, domains: Sequence[Domain], program: Callable[[str], str]) -> Iterator[Prosody]:
    """Run a Prosody with these domains, PEOPLE registered at each, that accepts connections."""
    host, _, port = loopback.free_address().partition(":")
    (state / "data").mkdir()
    certify(state, program("openssl"))
    config = state / "prosody.cfg.lua"
    head = GLOBAL.format(state=state, host=host, port=port)
    config.write_text(head + "".join(domain.text() for domain in domains))
    register(program("prosodyctl"), config, domains)
    address = f"{host}:{port}"
    with loopback.served([program("prosody"), "--config", str(config), "-F"], address, state / "prosody.out"):
        yield Prosody(host=host, port=int(port), state=state)


def certify(state: Path, openssl: str) -> None:
    """Make the certificate that go-sendxmpp wants to see, though it need not trust it."""
    command = [openssl, "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"]
    command += ["-days", "2", "-subj", "/CN=chat.test"]
    command += ["-keyout", str(state / "key.pem"), "-out", str(state / "crt.pem")]
    subprocess.run(command, check=True, capture_output=True)


def register(prosodyctl: str, config: Path, domains: Sequence[Domain]) -> None:
    """Make the accounts."""

    def make(account: tuple[str, str]) -> None:
        name, host = account
        command = [prosodyctl, "--config", str(config), "register", name, host, PASSWORD]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        list(pool.map(make, [(name, domain.name) for domain in domains for name in PEOPLE]))
