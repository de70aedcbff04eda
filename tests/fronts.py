"""The documented proxies, made to run beside each other: only addresses, certificate and log paths change."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable

DEPLOY = Path(__file__).parents[1] / "deploy"
APACHE_MODULES = Path("/usr/lib/apache2/modules")
# Those that a distribution has compiled in are not there to load.
APACHE_LOADS = [
    APACHE_MODULES / f"mod_{name}.so"
    for name in (
        *("mpm_event", "unixd", "authz_core", "log_config", "env", "setenvif", "socache_shmcb"),
        *("ssl", "http2", "headers", "proxy", "proxy_http", "reqtimeout", "xsendfile"),
    )
]


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where one proxy of a test listens, what it speaks to and where it may write."""

    folder: Path
    listen: str  # host:port
    upstream: str  # host:port of the uploads
    certificate: Path
    key: Path
    storage: Path = Path("/nonexistent")


@dataclass(frozen=True, slots=True, kw_only=True)
class Proxy:
    """A proxy's commands for the configuration that was written for it."""

    check: list[str]
    run: list[str]


def swap(text: str, *swaps: tuple[str, str]) -> str:
    """Replace each documented value; one that is no longer there is a fault of this test."""
    for old, new in swaps:
        assert old in text, f"the configuration no longer says {old!r}"
        text = text.replace(old, new)
    return text


def write(path: Path, text: str) -> str:
    path.write_text(text)
    return str(path)


def nginx(
    place: Place, program: Callable[[str], str], *, buffering: str = "off", addition: str = ""
) -> Proxy:
    site = swap(
        (DEPLOY / "nginx.conf").read_text(),
        ("listen 443 ", f"listen {place.listen} "),
        ("    listen [::]:443 ssl http2;\n", ""),
        ("server 127.0.0.1:8080;", f"server {place.upstream};"),
        ("/etc/ssl/upload.example.org.crt", str(place.certificate)),
        ("/etc/ssl/upload.example.org.key", str(place.key)),
        ("/var/log/nginx/hmacfs.log", f"{place.folder}/access.log"),
        ("proxy_request_buffering off;", f"proxy_request_buffering {buffering};"),
    )
    return nginx_of(place, f"{site.rstrip().removesuffix('}')}{addition}}}\n", program)


def nginx_offload(place: Place, program: Callable[[str], str]) -> Proxy:
    """Return the documented nginx with the documented addition by which it sends downloads itself."""
    addition = swap(
        (DEPLOY / "nginx-offload.conf").read_text(), ("alias /srv/hmacfs/;", f"alias {place.storage}/;")
    )
    return nginx(place, program, addition=addition)


def apache_offload(place: Place, program: Callable[[str], str]) -> Proxy:
    """Return the documented Apache with the documented addition by which it sends downloads itself."""
    if not (APACHE_MODULES / "mod_xsendfile.so").exists():
        pytest.skip("needs libapache2-mod-xsendfile; as root, `make test` installs it")
    addition = swap(
        (DEPLOY / "apache-offload.conf").read_text(),
        ("XSendFilePath /srv/hmacfs", f"XSendFilePath {place.storage}"),
    )
    return apache(place, program, addition=addition)


def plain_nginx(place: Place, program: Callable[[str], str], *, buffering: str = "off") -> Proxy:
    """Return the documented nginx without TLS, for clients that cannot be told whom to trust."""
    site = swap(
        (DEPLOY / "nginx.conf").read_text(),
        ("    listen [::]:443 ssl http2;\n", ""),
        ("listen 443 ssl http2;", f"listen {place.listen};"),
        ("server 127.0.0.1:8080;", f"server {place.upstream};"),
        ("/var/log/nginx/hmacfs.log", f"{place.folder}/access.log"),
        ("proxy_request_buffering off;", f"proxy_request_buffering {buffering};"),
    )
    kept = [line for line in site.splitlines() if not line.lstrip().startswith("ssl_")]
    return nginx_of(place, "\n".join(kept), program)


def nginx_of(place: Place, site: str, program: Callable[[str], str]) -> Proxy:
    """Return an nginx that serves `site`."""
    temporary = "".join(
        f"{kind}_temp_path {place.folder}/{kind};\n"
        for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    user = "user root;\n" if os.geteuid() == 0 else ""
    whole = f"{user}daemon off;\npid {place.folder}/pid;\nevents {{}}\nhttp {{\n{temporary}{site}\n}}\n"
    # -e: the error log until the configuration is read
    run = [program("nginx"), "-p", str(place.folder), "-e", f"{place.folder}/error.log"]
    run += ["-c", write(place.folder / "nginx.conf", whole)]
    return Proxy(check=[*run, "-t"], run=run)


def nginx_buffering(place: Place, program: Callable[[str], str]) -> Proxy:
    return nginx(place, program, buffering="on")


def caddy(place: Place, program: Callable[[str], str]) -> Proxy:
    host, port = place.listen.split(":")
    whole = swap(
        (DEPLOY / "Caddyfile").read_text(),
        ("caddy\n{\n", "caddy\n{\n\tadmin off\n\tauto_https disable_redirects\n"),
        (
            "\nupload.example.org {\n",
            f"\nhttps://upload.example.org:{port} {{\n\tbind {host}\n\ttls {place.certificate} {place.key}\n",
        ),
        ("reverse_proxy 127.0.0.1:8080 {", f"reverse_proxy {place.upstream} {{"),
    )
    named = ["--config", write(place.folder / "Caddyfile", whole), "--adapter", "caddyfile"]
    return Proxy(check=[program("caddy"), "validate", *named], run=[program("caddy"), "run", *named])


def apache(place: Place, program: Callable[[str], str], *, addition: str = "") -> Proxy:
    site = swap(
        (DEPLOY / "apache.conf").read_text(),
        ("<VirtualHost *:443>", f"<VirtualHost {place.listen}>"),
        ("http://127.0.0.1:8080/", f"http://{place.upstream}/"),
        ("/etc/ssl/upload.example.org.crt", str(place.certificate)),
        ("/etc/ssl/upload.example.org.key", str(place.key)),
        ("/var/log/apache2/hmacfs.log", f"{place.folder}/access.log"),
    )
    whole = "\n".join(
        [
            f"ServerRoot {place.folder}",
            f"DefaultRuntimeDir {place.folder}",
            f"PidFile {place.folder}/pid",
            f"ErrorLog {place.folder}/error.log",
            f"Listen {place.listen}",
            "ServerName upload.example.org",
            *(f"LoadModule {so.stem[4:]}_module {so}" for so in APACHE_LOADS if so.exists()),
            *(["User www-data", "Group www-data"] if os.geteuid() == 0 else []),
            f"{site.rstrip().removesuffix('</VirtualHost>')}{addition}</VirtualHost>",
        ]
    )
    run = [program("apache2"), "-f", write(place.folder / "apache.conf", whole)]
    return Proxy(check=[*run, "-t"], run=[*run, "-D", "FOREGROUND"])


def haproxy(place: Place, program: Callable[[str], str]) -> Proxy:
    both = write(place.folder / "both.pem", place.certificate.read_text() + place.key.read_text())
    whole = swap(
        (DEPLOY / "haproxy.cfg").read_text(),
        (
            "    bind [::]:443 v6only ssl crt /etc/haproxy/certs/upload.example.org.pem alpn h2,http/1.1\n",
            "",
        ),
        ("bind :443 ", f"bind {place.listen} "),
        ("/etc/haproxy/certs/upload.example.org.pem", both),
        ("log /dev/log local0", "log stdout format raw local0"),
        ("server hmacfs 127.0.0.1:8080 ", f"server hmacfs {place.upstream} "),
    )
    named = ["-f", write(place.folder / "haproxy.cfg", whole)]
    return Proxy(check=[program("haproxy"), "-c", *named], run=[program("haproxy"), "-db", *named])


PROXIES = {
    "nginx": nginx,
    "nginx-buffering": nginx_buffering,
    "nginx-offload": nginx_offload,
    "caddy": caddy,
    "apache": apache,
    "apache-offload": apache_offload,
    "haproxy": haproxy,
}

# What hmacfs must be told, in [server], beside a proxy that is more than a proxy.
SETTINGS = {
    "nginx-offload": 'trusted_proxies = ["127.0.0.0/8"]\noffload = "x-accel-redirect"\n',
    "apache-offload": 'trusted_proxies = ["127.0.0.0/8"]\noffload = "x-sendfile"\n'
    'file_mode = "0644"\ndirectory_mode = "0755"\n',  # its user is not that of the test
}
