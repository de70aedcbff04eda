"""A real nginx without TLS: in front of a server, or serving the same tree beside it."""

from __future__ import annotations

import contextlib
import os
from typing import TYPE_CHECKING

import loopback

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

# One kept connection to the server: whatever a request leaves behind on it, the next one meets.
CONFIG = """
{user}
daemon off;
pid {folder}/pid;
worker_processes 1;
error_log {folder}/error.log info;
events {{}}
http {{
    access_log off;
    default_type application/octet-stream;
    types {{ }}
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    {rest}
}}
"""
FRONT = """
    upstream server {{ server {upstream}; keepalive 1; }}
    server {{
        listen {listen};
        client_max_body_size 0;
        location / {{
            proxy_pass http://server;
            proxy_http_version 1.1;
            proxy_set_header Connection "";
            proxy_set_header Host $http_host;
            proxy_request_buffering {buffering};
            proxy_next_upstream off;
        }}
    }}
"""
BELOW = """
    server {{
        listen {listen};
        client_max_body_size 0;
        location {prefix} {{ proxy_pass http://{upstream}{path}; }}
    }}
"""
FILES = """
    max_ranges 16;
    server {{ listen {listen}; root {root}; }}
"""


@contextlib.contextmanager
def below(nginx: str, folder: Path, upstream: str, *, prefix: str, path: str = "/") -> Iterator[str]:
    """Run nginx that serves what is at `path` of `upstream` at `prefix`; give its address."""
    listen = loopback.free_address()
    rest = BELOW.format(listen=listen, upstream=upstream, prefix=prefix, path=path)
    with _running(nginx, folder, rest, listen):
        yield listen


@contextlib.contextmanager
def front(nginx: str, folder: Path, upstream: str, *, buffering: str) -> Iterator[str]:
    """Run nginx in front of `upstream`; give its address."""
    listen = loopback.free_address()
    with _running(nginx, folder, FRONT.format(listen=listen, upstream=upstream, buffering=buffering), listen):
        yield listen


@contextlib.contextmanager
def files(nginx: str, folder: Path, root: Path) -> Iterator[str]:
    """Run nginx as the server of the files below `root`; give its address."""
    listen = loopback.free_address()
    with _running(nginx, folder, FILES.format(listen=listen, root=root), listen):
        yield listen


@contextlib.contextmanager
def _running(nginx: str, folder: Path, rest: str, listen: str) -> Iterator[None]:
    user = "user root;" if os.geteuid() == 0 else ""
    config = folder / "nginx.conf"
    config.write_text(CONFIG.format(user=user, folder=folder, rest=rest))
    command = [nginx, "-p", str(folder), "-e", f"{folder}/early.log", "-c", str(config)]
    with loopback.served(command, listen, folder / "output.log"):
        yield
