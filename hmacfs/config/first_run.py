"""`hmacfs serve` without a configuration: everything by default, and a secret made once and kept."""

from __future__ import annotations

import contextlib
import os
import secrets
from pathlib import Path
from typing import Final

from hmacfs.config import loading
from hmacfs.config.report import Faulty
from hmacfs.config.settings import Server, Settings

NAME: Final = "(no configuration file)"
"""What stands for the file in reports."""

SECRET_FILE: Final = f"{Server().storage_path}/.hmacfs/secret"
"""Where the secret lies, below the working directory."""

_DIRECTORY_MODE: Final = 0o750
_SECRET_BYTES: Final = 32


def embedded(cwd: str | Path) -> Settings:
    """Give the settings of a server without a configuration file, started in `cwd`.

    Makes `cwd`/var/.hmacfs/secret (64 hexadecimal digits, mode 0600) if it is not there. Raises Faulty
    if that is not possible or the secret there is weak.
    """
    path = Path(cwd) / SECRET_FILE
    try:
        _make_directories(path.parent)
        if not path.exists():
            _make_secret(path)
    except OSError as error:
        fault = loading.whole_file_fault(
            str(path), f"cannot be made: {error.strerror}", "a writable directory"
        )
        raise Faulty((fault,)) from None
    text = f'[security]\nsecret_file = "{SECRET_FILE}"\n'
    return loading.parse(text, name=NAME, base_dir=cwd, environ={}).settings


def _make_directories(path: Path) -> None:
    """Make `path` and its parent (the storage directory), each for owner and group only."""
    for directory in (path.parent, path):
        with contextlib.suppress(FileExistsError):
            directory.mkdir(mode=_DIRECTORY_MODE)


def _make_secret(path: Path) -> None:
    """Make the secret so that whoever sees the file sees all of it, and only one maker wins."""
    draft = path.with_name(f"{path.name}.{os.getpid()}.{secrets.token_hex(8)}")
    fd = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        with os.fdopen(fd, "w") as file:
            file.write(secrets.token_hex(_SECRET_BYTES) + "\n")
            file.flush()
            os.fsync(file.fileno())
        # link refuses to replace: another process may have been quicker, and then its secret counts.
        with contextlib.suppress(FileExistsError):
            path.hardlink_to(draft)
    finally:
        draft.unlink()
