"""Certificates for tests, made by openssl."""

from __future__ import annotations

import subprocess
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

NAME = "upload.example.org"


def make(openssl: str, folder: Path, *, kind: str = "ec", name: str = NAME) -> tuple[Path, Path]:
    """Give a self-signed certificate for `name` and its key, in `folder`."""
    folder.mkdir(exist_ok=True)
    crt, key = folder / "crt.pem", folder / "key.pem"
    keys = ["rsa:2048"] if kind == "rsa" else ["ec", "-pkeyopt", "ec_paramgen_curve:P-256"]
    command = [openssl, "req", "-x509", "-newkey", *keys, "-nodes", "-days", "2", "-subj", f"/CN={name}"]
    command += ["-addext", f"subjectAltName=DNS:{name}", "-keyout", str(key), "-out", str(crt)]
    subprocess.run(command, check=True, capture_output=True)
    return crt, key
