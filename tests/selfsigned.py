"""Certificates for tests, made by openssl."""

from __future__ import annotations

import socket
import ssl
import subprocess
from typing import TYPE_CHECKING

import serving

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from serving import Server

NAME = "upload.example.org"


def make(
    openssl: str, folder: Path, *, kind: str = "ec", name: str = NAME, addresses: Iterable[str] = ()
) -> tuple[Path, Path]:
    """Return a self-signed certificate for `name` and IP `addresses`, and its key, in `folder`."""
    folder.mkdir(exist_ok=True)
    crt, key = folder / "crt.pem", folder / "key.pem"
    keys = ["rsa:2048"] if kind == "rsa" else ["ec", "-pkeyopt", "ec_paramgen_curve:P-256"]
    command = [openssl, "req", "-x509", "-newkey", *keys, "-nodes", "-days", "2", "-subj", f"/CN={name}"]
    names = ",".join([f"DNS:{name}", *(f"IP:{address}" for address in addresses)])
    command += ["-addext", f"subjectAltName={names}", "-keyout", str(key), "-out", str(crt)]
    subprocess.run(command, check=True, capture_output=True)
    return crt, key


def greet(port: int, crt: Path, **options: ssl.TLSVersion) -> ssl.SSLSocket:
    """Connect, trusting the certificate alone; `options` are attributes of the context."""
    trust = ssl.create_default_context(cafile=str(crt))
    for name, value in options.items():
        setattr(trust, name, value)
    plain = socket.create_connection(("127.0.0.1", port), timeout=serving.PATIENCE_S)
    try:
        return trust.wrap_socket(plain, server_hostname=NAME)
    except BaseException:
        plain.close()
        raise


def port_of(server: Server) -> int:
    """Return the port of the only TLS listener."""
    ready = next(line for line in server.events if line["event"] == "serve-ready")
    return int(
        next(name for name in ready["listening"].split() if name.startswith("tls:")).rpartition(":")[2]
    )
