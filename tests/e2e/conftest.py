"""One site for all end-to-end tests: hmacfs, nginx before it with and without buffering, and Prosody."""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import cutting
import fronts
import loopback
import pytest
import selfsigned
import serving
from e2e import prosody, resumable
from e2e.node import Node

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

JS = Path(__file__).with_name("js")
MiB = 1024 * 1024
WAYS = {"direct": None, "nginx": "off", "nginx-buffering": "on"}
"""Way to hmacfs: nginx's proxy_request_buffering, None without nginx."""
SHORT_S = 5
"""A retention that a test can wait for."""

ENDPOINTS = f"""
[[endpoint]]
prefix = "/upload/"
protocols = ["v2", "v", "token"]
[[endpoint]]
prefix = "/share/"
protocols = ["jwt"]
secret = "{prosody.JWT_SECRET}"
[[endpoint]]
prefix = "/files/"
protocols = ["tus"]
secret = "{resumable.SECRET}"
"""
TLS = """
[tls]
listen_address = "127.0.0.1:0"
certificate = "{crt}"
key = "{key}"
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Big:
    """A file of 100 MiB."""

    path: Path
    size: int
    sha256: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Site:
    """All of it, running."""

    hmacfs: serving.Server
    addresses: dict[str, str]
    """host:port of each of WAYS."""
    secure: dict[str, str]
    """The same with TLS."""
    certificate: Path
    """Of `secure`."""
    relay: cutting.Relay
    """A way that breaks when it is told to."""

    def forget(self, url: str) -> None:
        """Give back the room of a large upload."""
        (self.hmacfs.storage / url.split("/", 3)[3]).unlink()


@pytest.fixture(scope="session")
def site(program: Callable[[str], str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """Run hmacfs and both kinds of nginx."""
    folder = tmp_path_factory.mktemp("site")
    secret, sweeps = prosody.HMAC_SECRET, 'sweep_interval = "1s"\n'
    host = loopback.free_address().partition(":")[0]
    crt, key = selfsigned.make(program("openssl"), folder / "tls", addresses=["127.0.0.1", host])
    rest = ENDPOINTS + TLS.format(crt=crt, key=key)
    with contextlib.ExitStack() as stack:
        hmacfs = stack.enter_context(serving.running(folder, secret=secret, rest=rest, server=sweeps))
        direct = f"{hmacfs.host}:{hmacfs.port}"
        addresses, secure = {"direct": direct}, {"direct": f"127.0.0.1:{selfsigned.port_of(hmacfs)}"}
        for way, buffering in WAYS.items():
            if buffering is None:
                continue
            for kept, write in ((addresses, fronts.plain_nginx), (secure, fronts.nginx)):
                place = fronts.Place(
                    folder=folder / f"{way}-{write.__name__}",
                    listen=loopback.free_address(),
                    upstream=direct,
                    certificate=crt,
                    key=key,
                )
                place.folder.mkdir()
                proxy = write(place, program, buffering=buffering)
                stack.enter_context(loopback.served(proxy.run, place.listen, place.folder / "log"))
                kept[way] = place.listen
        relay = stack.enter_context(cutting.relaying(direct))
        yield Site(hmacfs=hmacfs, addresses=addresses, secure=secure, certificate=crt, relay=relay)
    shutil.rmtree(folder)  # pytest would keep the uploads of three runs


@pytest.fixture
def relay(site: Site) -> Iterator[cutting.Relay]:
    """Return the way that breaks, in fair weather."""
    site.relay.change(cutting.Weather())
    yield site.relay
    site.relay.cut()


@pytest.fixture(scope="session")
def js() -> Path:
    """Return the folder with the clients that are written in JavaScript, or skip the test that needs them."""
    if not (JS / "node_modules").is_dir():
        pytest.skip("needs `npm ci` in tests/e2e/js; as root, `make test` runs it")
    return JS


@pytest.fixture(scope="session")
def node(js: Path, program: Callable[[str], str]) -> Node:
    """Return tus-js-client."""
    return Node(program=program("node"), script=js / "upload.js")


@pytest.fixture
def ticket(relay: cutting.Relay) -> resumable.Ticket:
    """Return leave to upload through the way that breaks."""
    return resumable.ticket(relay)


@dataclass(frozen=True, slots=True, kw_only=True)
class Chat:
    """A Prosody and its domains, by kind of token and way to hmacfs."""

    server: prosody.Prosody
    domains: dict[tuple[str, str], prosody.Domain]


@pytest.fixture(scope="session")
def chat(
    site: Site, program: Callable[[str], str], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Chat]:
    """Run a Prosody that sends uploads to the site."""
    domains = {
        (kind, way): prosody.Domain(name=f"{kind}-{way}.test", kind=kind, base=base(address, kind))
        for kind in prosody.KINDS
        for way, address in site.addresses.items()
    }
    for kind in prosody.KINDS:
        for way, address in site.secure.items():
            url = base(address, kind, scheme="https")
            domains[kind, f"{way}-tls"] = prosody.Domain(name=f"{kind}-{way}-tls.test", kind=kind, base=url)
    for kind in ("v2", "jwt"):
        domains[kind, "relay"] = prosody.Domain(
            name=f"{kind}-relay.test", kind=kind, base=base(site.relay.address, kind)
        )
    domains["jwt", "short"] = prosody.Domain(
        name="jwt-short.test", kind="jwt", base=base(site.addresses["direct"], "jwt"), keep_s=SHORT_S
    )
    state = tmp_path_factory.mktemp("prosody")
    with prosody.running(state, list(domains.values()), program) as server:
        yield Chat(server=server, domains=domains)


def base(address: str, kind: str, *, scheme: str = "http") -> str:
    """Return the base URL of the endpoint for this kind of token."""
    return f"{scheme}://{address}/{'share' if kind == 'jwt' else 'upload'}/"


@pytest.fixture(params=WAYS)
def way(request: pytest.FixtureRequest) -> str:
    """Return each way to hmacfs."""
    return str(request.param)


@pytest.fixture(params=prosody.KINDS)
def kind(request: pytest.FixtureRequest) -> str:
    """Return each kind of token."""
    return str(request.param)


@pytest.fixture
def domain(chat: Chat, kind: str, way: str) -> prosody.Domain:
    """Return each virtual host of Prosody."""
    return chat.domains[kind, way]


@pytest.fixture
def secure_domain(chat: Chat, kind: str, way: str) -> prosody.Domain:
    """Return each virtual host of Prosody that sends uploads to an address with TLS."""
    return chat.domains[kind, f"{way}-tls"]


@pytest.fixture(scope="session")
def big(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Big]:
    """Return the largest file that mod_http_upload_external grants by default."""
    path = tmp_path_factory.mktemp("big") / "hundred.bin"
    digest = hashlib.sha256()
    with path.open("wb") as file:
        for _ in range(100):
            piece = os.urandom(MiB)
            digest.update(piece)
            file.write(piece)
    yield Big(path=path, size=100 * MiB, sha256=digest.hexdigest())
    path.unlink()
