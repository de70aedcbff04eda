"""What a configuration names, tried without serving: files, directories, sockets and groups.

It leaves nothing behind, and takes nothing from a server that runs: what that one holds is only told.
"""

from __future__ import annotations

import contextlib
import errno
import grp
import os
import pwd
import stat
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Final

from hmacfs import listeners, unixsocket
from hmacfs.config import addresses
from hmacfs.config.addresses import Unix

if TYPE_CHECKING:
    from collections.abc import Iterator

    from hmacfs.config import Fault, Loaded, Notice

_LISTENABLE: Final = "an address that the server may listen on"
_IN_USE: Final = "is in use now; by this very server, if it runs"
_MADE_AT_START: Final = "/run/"
_ABSENT: Final = "is not there now; systemd makes it if its unit has RuntimeDirectory="


class Findings:
    """What was found, as check-config tells it."""

    def __init__(self, loaded: Loaded) -> None:
        """Find nothing yet."""
        self._loaded = loaded
        self.faults: list[Fault] = []
        """What stops a server."""
        self.notices: list[Notice] = []
        """What does not."""

    def fault(self, path: str, found: str, expected: str) -> None:
        """Note that what the key `path` names does not do."""
        self.faults.append(self._loaded.fault(path, found, expected))

    def notice(self, path: str, words: str) -> None:
        """Note something worth knowing about what the key `path` names."""
        self.notices.append(self._loaded.notice(path, words))


def run(loaded: Loaded) -> Findings:
    """Return what is wrong with what a configuration names, as far as this user can tell."""
    findings = Findings(loaded)
    _file(loaded, findings)
    _log(loaded, findings)
    _storage(loaded, findings)
    _group(loaded, findings)
    wanted = [(path, text, addresses.parse(text)) for path, text in _listeners(loaded)]
    with contextlib.ExitStack() as held:
        for path, text, address in wanted:
            try:
                if isinstance(address, Unix):
                    _unix(path, address.path, findings)
                    continue
                # Held, so that two of our own that are one are found, too.
                for sock in listeners.bind(address, [one for _, _, one in wanted]):
                    held.enter_context(sock)
            except OSError as error:
                if error.errno == errno.EADDRINUSE:
                    findings.notice(path, f"{text} {_IN_USE}")
                else:
                    findings.fault(path, f"{text}: {_words(error)}", _LISTENABLE)
    return findings


def _file(loaded: Loaded, findings: Findings) -> None:
    """Look who can read a configuration that holds a secret itself."""
    settings = loaded.settings
    keys = {key for one in settings.endpoints for key in (*one.secrets, one.delete_secret) if key is not None}
    with contextlib.suppress(OSError, ValueError):
        path = Path(loaded.name)
        if path.stat().st_mode & stat.S_IROTH and any(key.reveal() in path.read_bytes() for key in keys):
            findings.notice("", "everybody can read this file, and a secret stands in it; better: chmod 640")


def _log(loaded: Loaded, findings: Findings) -> None:
    """Try whether lines can be appended; a file that is not there is not left there."""
    path = loaded.settings.logging.file
    if not path:
        return
    # As the log itself opens it: a named pipe without a reader is no place for lines.
    flags = os.O_WRONLY | os.O_APPEND | os.O_NOCTTY | os.O_NONBLOCK | os.O_CLOEXEC
    try:
        if os.path.lexists(path):
            os.close(os.open(path, flags))
        else:
            os.close(os.open(path, flags | os.O_CREAT | os.O_EXCL, 0o600))
            Path(path).unlink()
    except (OSError, ValueError) as error:
        findings.fault("logging.file", f"{path}: {_words(error)}", "a file that the server may append to")


def _storage(loaded: Loaded, findings: Findings) -> None:
    """Try whether files can be made below storage_path, or the directory itself."""
    settings = loaded.settings
    root = settings.server.storage_path
    expected = "a directory that the server may write"
    try:
        if not os.path.lexists(root):
            above = next(path for path in Path(root).parents if os.path.lexists(path))
            Path(tempfile.mkdtemp(prefix=".hmacfs-", dir=above)).rmdir()
            return
        os.close(os.open(root, os.O_TMPFILE | os.O_RDWR | os.O_CLOEXEC, 0o600))
    except (OSError, ValueError) as error:
        findings.fault("server.storage_path", f"{root}: {_words(error)}", expected)
        return
    for directory in {endpoint.directory for endpoint in settings.endpoints} - {""}:
        path = os.path.join(root, directory)  # noqa: PTH118 - plain text
        with contextlib.suppress(FileNotFoundError):
            if not stat.S_ISDIR(Path(path).stat().st_mode):
                findings.fault("server.storage_path", f"{path}: not a directory", expected)
            elif not os.access(path, os.R_OK | os.W_OK | os.X_OK, effective_ids=True):
                findings.fault("server.storage_path", f"{path}: not writable by {_user()}", expected)
    free = os.statvfs(root)
    if free.f_bavail * free.f_frsize < settings.server.min_free_bytes:
        words = "less than min_free_bytes is free there: every upload would be refused (507)"
        findings.notice("server.storage_path", f"{root}: {words}")


def _group(loaded: Loaded, findings: Findings) -> None:
    """Try whether a unix socket can be given to the group."""
    server = loaded.settings.server
    if not server.socket_group:
        return
    expected = "a group of this machine that the server belongs to"
    try:
        gid = grp.getgrnam(server.socket_group).gr_gid
    except KeyError:
        findings.fault("server.socket_group", f"there is no group {server.socket_group!r}", expected)
        return
    if os.geteuid() and gid not in {os.getegid(), *os.getgroups()}:
        findings.fault("server.socket_group", f"{_user()} is not in {server.socket_group!r}", expected)


def _listeners(loaded: Loaded) -> Iterator[tuple[str, str]]:
    """Yield each address with the key that names it."""
    settings = loaded.settings
    yield from (("server.listen_address", text) for text in settings.server.listen_address)
    yield from (("tls.listen_address", text) for text in settings.tls.listen_address)
    if settings.metrics.listen_address:
        yield "metrics.listen_address", settings.metrics.listen_address


def _unix(path: str, name: str, findings: Findings) -> None:
    directory = os.path.dirname(name)  # noqa: PTH120 - plain text
    expected = "a name in a directory that the server may write"
    if not os.path.isdir(directory):  # noqa: PTH112 - plain text
        if name.startswith(_MADE_AT_START):
            findings.notice(path, f"{directory} {_ABSENT}")
        else:
            findings.fault(path, f"{directory}: no directory", expected)
        return
    if not os.access(directory, os.W_OK | os.X_OK, effective_ids=True):
        findings.fault(path, f"{directory}: not writable by {_user()}", expected)
    with contextlib.suppress(FileNotFoundError):
        if words := unixsocket.in_use(name):
            if stat.S_ISSOCK(os.lstat(name).st_mode):
                findings.notice(path, f"{name} {_IN_USE}")
            else:
                findings.fault(path, words, expected)


def _words(error: Exception) -> str:
    """Say what went wrong; who was not allowed is part of it, since it is seldom the server's user."""
    words = (error.strerror if isinstance(error, OSError) else None) or str(error)
    return f"{words} (tried as {_user()})" if isinstance(error, PermissionError) else words


def _user() -> str:
    try:
        return pwd.getpwuid(os.geteuid()).pw_name
    except KeyError:  # containers have users without a name
        return f"user {os.geteuid()}"
