"""The main job through every documented proxy: signed uploads in, downloads out, nothing lost or leaked."""

from __future__ import annotations

import contextlib
import hashlib
import http.client
import json
import re
import secrets
import socket
import ssl
import stat
import subprocess
import sys
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import quote, unquote

import fronts
import pytest

from hmacfs import auth
from hmacfs.model import Endpoint, Secret

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from fronts import Proxy

HOST = "upload.example.org"
SECRET = "a secret for the proxies' tests, long enough"
ENDPOINT = Endpoint(
    prefix="/upload/", directory="upload", protocols=("v2",), secrets=(Secret(SECRET.encode()),)
)
MiB = 1024 * 1024
# Proxies connect from there; clients of the tests have any of loopback's addresses.
TRUSTED = 'trusted_proxies = ["127.0.0.1"]\n'
NAMES = {
    "plain": "photo.jpg",
    "spaces": "two words.txt",
    "plus-and-percent": "1+1 is 100%25.txt",
    "accents": "été.bin",
    "emoji": "🎉🎉.png",
    "long": "x" * 196 + ".bin",
    "longer-than-a-file-system-names": "ж" * 130 + ".bin",
    "punctuation": "a&b=c;d,e'(f)!~@:$*.bin",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Site:
    """A running hmacfs behind a running proxy."""

    address: str
    certificate: Path
    folder: Path

    def connect(self, source: str = "") -> http.client.HTTPConnection:
        """Return a connection, from `source`, whose TLS is done and checked by the test's certificate."""
        host, port = self.address.split(":")
        trust = ssl.create_default_context(cafile=str(self.certificate))
        plain = socket.create_connection(
            (host, int(port)), timeout=60, source_address=(source, 0) if source else None
        )
        connection = http.client.HTTPConnection(HOST)
        connection.sock = trust.wrap_socket(plain, server_hostname=HOST)
        return connection

    def ask(
        self, method: str, target: str, body: bytes | None = None, **fields: str
    ) -> tuple[int, dict[str, str], bytes]:
        """Send one request on its own connection; give status, fields (lower case) and body."""
        connection = self.connect()
        try:
            names = {name.replace("_", "-"): value for name, value in fields.items()}
            # A proxy may end a refused upload half-way; clients then read the answer all the same.
            with contextlib.suppress(OSError):
                connection.request(method, target, body, names)
            answer = connection.getresponse()
            return answer.status, {name.lower(): value for name, value in answer.getheaders()}, answer.read()
        finally:
            connection.close()


@pytest.fixture
def site(  # noqa: PLR0913, PLR0917 - fixtures
    proxy_name: str,
    tmp_path: Path,
    certificate: tuple[Path, Path],
    free_address: Callable[[], str],
    write_proxy: Callable[[str], tuple[Proxy, str]],
    start: Callable[[list[str], str], None],
) -> Site:
    upstream, metrics = free_address(), free_address()
    config = tmp_path / "hmacfs.toml"
    config.write_text(
        f'[server]\nlisten_address = "{upstream}"\nstorage_path = "{tmp_path}/store"\nworkers = 1\n'
        f'min_free_bytes = "1MB"\n{fronts.SETTINGS.get(proxy_name, TRUSTED)}'
        f'[metrics]\nlisten_address = "{metrics}"\n[security]\nsecret = "{SECRET}"\n'
        '[[endpoint]]\nprefix = "/upload/"\nprotocols = ["v2"]\n'
    )
    (tmp_path / "store").mkdir()
    if proxy_name == "apache-offload":  # its user has to get there, from the root on
        for folder in (tmp_path, *tmp_path.parents):
            mode = folder.stat().st_mode
            if not mode & stat.S_IXOTH:
                folder.chmod(mode | 0o011)
    start([sys.executable, "-m", "hmacfs", "serve", "--config", str(config)], upstream)
    proxy, address = write_proxy(upstream)
    start(proxy.run, address)
    return Site(address=address, certificate=certificate[0], folder=tmp_path)


def target_for(name: str, size: int, content_type: str = "image/png") -> tuple[str, str]:
    """Return the path of a new slot and the query that lets a client upload to it."""
    rel = f"{secrets.token_hex(8)}/{name}"
    signed = auth.sign("v2", ENDPOINT, auth.SlotRequest(rel, size, content_type), now=time.time(), ttl_s=3600)
    return f"/upload/{quote(rel)}", signed.query


def upload(site: Site, name: str, body: bytes) -> str:
    path, query = target_for(name, len(body))
    status, _, said = site.ask("PUT", f"{path}?{query}", body, Content_Type="image/png")
    assert status == 201, said
    return path


def test_every_name_and_size_arrives_and_reads_back(site: Site) -> None:
    sizes = [0, 1, 64 * 1024 + 1, 20 * MiB]
    files = [(name, 1000) for name in NAMES.values()] + [(f"{size}.bin", size) for size in sizes]
    for name, size in files:
        body = secrets.token_bytes(size)
        path = upload(site, name, body)
        status, fields, got = site.ask("GET", path)
        assert (status, len(got), fields["content-type"]) == (200, size, "image/png"), name
        assert hashlib.sha256(got).digest() == hashlib.sha256(body).digest(), name


def test_an_upload_goes_on_where_it_stopped(site: Site) -> None:
    """In three languages, one after the other: no proxy drops their fields or refuses their methods."""
    body = secrets.token_bytes(300_000)
    path, query = target_for("pieces.png", len(body))
    target = f"{path}?{query}"
    span = f"bytes 0-99999/{len(body)}"
    status, fields, said = site.ask(
        "PUT", target, body[:100_000], Content_Type="image/png", Content_Range=span
    )
    assert (status, fields["upload-offset"]) == (204, "100000"), said
    tus = {"Tus_Resumable": "1.0.0", "Content_Type": "application/offset+octet-stream"}
    status, fields, said = site.ask("PATCH", target, body[100_000:200_000], Upload_Offset="100000", **tus)
    assert (status, fields["upload-offset"], fields["tus-resumable"]) == (204, "200000", "1.0.0"), said
    status, fields, _ = site.ask("HEAD", target)
    assert (status, fields["upload-offset"], fields["upload-complete"]) == (204, "200000", "?0")
    ietf = {"Upload_Complete": "?1", "Content_Type": "application/partial-upload"}
    status, fields, said = site.ask("PATCH", target, body[200_000:], Upload_Offset="200000", **ietf)
    assert (status, fields["upload-complete"]) == (201, "?1"), said
    status, fields, got = site.ask("GET", path)
    assert (status, fields["content-type"], got) == (200, "image/png", body)


def test_ranges_and_validators_pass_unharmed(site: Site) -> None:
    body = secrets.token_bytes(100_000)
    path = upload(site, "whole.png", body)
    _, whole, _ = site.ask("GET", path, Accept_Encoding="gzip, br")
    assert "content-encoding" not in whole
    assert whole["etag"].startswith('"')
    status, fields, part = site.ask("GET", path, Range="bytes=1000-1999", If_Range=whole["etag"])
    assert (status, part) == (206, body[1000:2000])
    assert fields["content-range"] == "bytes 1000-1999/100000"
    assert site.ask("GET", path, If_None_Match=whole["etag"])[0] == 304
    assert site.ask("GET", path, Range="bytes=100000-")[0] == 416
    status, fields, nothing = site.ask("HEAD", path)
    assert (status, fields["content-length"], nothing) == (200, "100000", b"")


def test_text_keeps_its_strong_validator(site: Site) -> None:
    """A proxy that compresses would weaken or change it."""
    body = b"lorem ipsum " * 10_000
    path, query = target_for("words.txt", len(body), "text/plain")
    assert site.ask("PUT", f"{path}?{query}", body, Content_Type="text/plain")[0] == 201
    _, packed, got = site.ask("GET", path, Accept_Encoding="gzip, deflate, br")
    assert (packed["etag"], got) == (site.ask("GET", path)[1]["etag"], body)


def test_what_guards_and_describes_a_file_is_never_lost(site: Site) -> None:
    path = upload(site, "script.svg", b"<svg/>")
    for fields in (
        site.ask("GET", path)[1],
        site.ask("HEAD", path)[1],
        site.ask("GET", path, Range="bytes=1-2")[1],
    ):
        assert "sandbox" in fields["content-security-policy"]
        assert "script.svg" in fields["content-disposition"]
        assert fields["x-content-type-options"] == "nosniff"
        assert fields["cross-origin-resource-policy"] == "cross-origin"
        assert fields["referrer-policy"] == "no-referrer"
        assert fields["access-control-allow-origin"] == "*"
        assert "ETag" in fields["access-control-expose-headers"]
        assert "immutable" in fields["cache-control"]
        assert fields["accept-ranges"] == "bytes"
        assert fields["x-request-id"]
        assert "x-accel-redirect" not in fields


@pytest.mark.parametrize("proxy_name", ["nginx-offload"], indirect=True)
def test_an_offloaded_file_is_sent_by_nginx(site: Site) -> None:
    path = upload(site, "offloaded.png", b"content")
    _, fields, body = site.ask("GET", path)
    modified = int((site.folder / "store" / path[1:]).stat().st_mtime)
    assert (fields["etag"], body) == (f'"{modified:x}-7"', b"content")  # the form of its ETag, not of ours
    assert site.ask("GET", f"/protected{path}")[0] == 404


@pytest.mark.parametrize("proxy_name", ["apache-offload"], indirect=True)
def test_an_offloaded_file_is_sent_by_apache(site: Site) -> None:
    path = upload(site, "off loaded +.png", b"content")
    stored = site.folder / "store" / unquote(path[1:])
    with stored.open("r+b") as file:  # what hmacfs itself would refuse to send: its size is not the index's
        file.write(b"CONTENT")
    status, fields, body = site.ask("GET", path)
    assert (status, body) == (200, b"CONTENT")
    assert "x-sendfile" not in fields
    assert site.ask("GET", path, If_None_Match=fields["etag"])[0] == 304
    assert site.ask("GET", path, Range="bytes=2-3")[2] == b"NT"


@pytest.mark.parametrize("proxy_name", ["apache-offload"], indirect=True)
@pytest.mark.parametrize("name", ["é.png", "🎉", "space at its end ", "100%.png", "%41.png", "%"])
def test_a_name_that_apache_would_not_find_is_sent_by_hmacfs(site: Site, name: str) -> None:
    path = upload(site, name, b"content")
    assert site.ask("GET", path)[2] == b"content"


def test_a_refusal_reaches_the_client_with_its_reason(site: Site) -> None:
    path, query = target_for("big.png", 8 * MiB)
    status, fields, said = site.ask("PUT", f"{path}?{query[:-1]}x", bytes(8 * MiB), Content_Type="image/png")
    assert status == 403
    assert fields["content-type"] == "application/problem+json"
    assert fields["access-control-allow-origin"] == "*"
    assert json.loads(said)["status"] == 403
    # and the connections behind the proxy are still clean
    for _ in range(3):
        upload(site, "after.png", b"after")


def test_an_upload_is_never_overwritten(site: Site) -> None:
    path, query = target_for("once.png", 5)
    answers = [
        site.ask("PUT", f"{path}?{query}", body, Content_Type="image/png")[0] for body in (b"first", b"again")
    ]
    assert answers == [201, 409]
    assert site.ask("GET", path)[2] == b"first"


def test_a_browser_may_upload(site: Site) -> None:
    status, fields, _ = site.ask(
        "OPTIONS",
        target_for("page.png", 1)[0],
        Origin="https://chat.example.org",
        Access_Control_Request_Method="PUT",
        Access_Control_Request_Headers="content-type",
    )
    assert status in {200, 204}
    assert fields["access-control-allow-origin"] == "*"
    assert "PUT" in fields["access-control-allow-methods"]


def test_one_connection_carries_many_requests(site: Site) -> None:
    path = upload(site, "often.png", b"often")
    connection = site.connect()
    for _ in range(50):
        connection.request("GET", path)
        answer = connection.getresponse()
        assert (answer.status, answer.read()) == (200, b"often")
    connection.close()


@pytest.mark.parametrize("proxy_name", ["nginx", "caddy", "apache", "haproxy"], indirect=True)
def test_the_log_names_the_client_and_not_whom_it_claims_to_be(site: Site) -> None:
    path = upload(site, "whose.png", b"whose")
    client = "127.3.2.1"
    claims = {"X-Forwarded-For": "198.51.100.1", "Forwarded": "for=198.51.100.2"}
    for _ in range(4):  # the later ones are answered from memory
        connection = site.connect(client)
        connection.request("GET", path, headers=claims)
        answer = connection.getresponse()
        assert (answer.status, answer.read()) == (200, b"whose")
        connection.close()
    (log,) = (file for file in site.folder.glob("python*.log"))
    wanted = [f"client={client}"] * 4
    while (named := re.findall(r"client=\S+(?= method=GET)", log.read_text())) != wanted:
        assert len(named) < len(wanted), named


def test_http2_outside(site: Site, program: Callable[[str], str]) -> None:
    body = secrets.token_bytes(3 * MiB)
    (site.folder / "body").write_bytes(body)
    path, query = target_for("second.png", len(body))
    host, port = site.address.split(":")
    curl = [program("curl"), "--silent", "--show-error", "--http2", "--cacert", str(site.certificate)]
    curl += ["--resolve", f"{HOST}:{port}:{host}", "--output", str(site.folder / "got")]
    curl += ["--write-out", "%{http_version} %{http_code}"]
    put = ["--upload-file", str(site.folder / "body"), "--header", "Content-Type: image/png"]
    base = f"https://{HOST}:{port}{path}"
    assert subprocess.check_output([*curl, *put, f"{base}?{query}"], text=True) == "2 201"
    assert subprocess.check_output([*curl, base], text=True) == "2 200"
    assert (site.folder / "got").read_bytes() == body


def test_no_token_is_in_any_log(site: Site) -> None:
    path, query = target_for("quiet.png", 5)
    assert site.ask("PUT", f"{path}?{query}", b"quiet", Content_Type="image/png")[0] == 201
    token = query.partition("=")[2]
    logs = [file for file in site.folder.rglob("*.log") if file.is_file()]
    assert logs
    assert [file.name for file in logs if token in file.read_text(errors="replace")] == []
