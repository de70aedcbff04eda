"""`hmacfs serve` without a configuration: everything by default, and a secret made once and kept."""

from __future__ import annotations

import contextlib
import os
import secrets
from pathlib import Path
from typing import TYPE_CHECKING, Final

from hmacfs.config import loading
from hmacfs.config.report import Faulty
from hmacfs.config.settings import Server

if TYPE_CHECKING:
    from hmacfs.config.settings import Settings

NAME: Final = "(no configuration file)"
"""What stands for the file in reports."""

SECRET_FILE: Final = "hmacfs.secret"  # noqa: S105 - its name, not what it holds
"""Where the secret lies, in the working directory: outside of the storage, of which parts may be deleted."""

# Where the first versions kept it, among what may be deleted while the server is stopped.
_BEFORE: Final = f"{Server().storage_path}/.hmacfs/secret"
_SECRET_BYTES: Final = 32


def embedded(cwd: str | Path) -> Settings:
    """Return the settings of a server without a configuration file, started in `cwd`.

    Makes `cwd`/hmacfs.secret (64 hexadecimal digits, mode 0600) if it is not there, of what an older version
    kept elsewhere if there is that. Raises Faulty if that is not possible or the secret is weak.
    """
    path = Path(cwd) / SECRET_FILE
    try:
        if not path.exists():
            before = Path(cwd) / _BEFORE
            kept = _content(before)
            _make_secret(path, kept or f"{secrets.token_hex(_SECRET_BYTES)}\n".encode())
            if kept:  # and removed only once the new one lasts, so that no crash loses both
                before.unlink(missing_ok=True)
    except OSError as error:
        fault = loading.whole_file_fault(
            str(path), f"cannot be made: {error.strerror}", "a writable directory"
        )
        raise Faulty((fault,)) from None
    text = f'[security]\nsecret_file = "{SECRET_FILE}"\n'
    return loading.parse(text, name=NAME, base_dir=cwd, environ={}).settings


def _content(path: Path) -> bytes:
    """Return what the file holds, b"" if it is not there."""
    try:
        return path.read_bytes()
    except (FileNotFoundError, NotADirectoryError):
        return b""


def _make_secret(path: Path, content: bytes) -> None:
    """Write the file so that it is seen whole or not at all; of several writers one wins."""
    draft = path.with_name(f"{path.name}.{os.getpid()}.{secrets.token_hex(8)}")
    fd = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        with os.fdopen(fd, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        # link refuses to replace: another process may have been quicker, and then its secret counts.
        with contextlib.suppress(FileExistsError):
            path.hardlink_to(draft)
        _sync(path.parent)
    finally:
        draft.unlink()


def _sync(directory: Path) -> None:
    """Make the names in `directory` last."""
    fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
