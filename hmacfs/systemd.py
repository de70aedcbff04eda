"""systemd's three small protocols without its library: notification, socket activation, watchdog.

Sources: sd_notify(3), sd_listen_fds(3), sd_watchdog_enabled(3). The environment, the process id and the time
are arguments; the caller starts its children with an environment that lacks `VARIABLES`.
"""

from __future__ import annotations

import os
import socket
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Mapping

FIRST_FD: Final = 3
"""SD_LISTEN_FDS_START."""
SEND_TIMEOUT_S: Final = 1.0
"""How long a notification waits for a manager with a full queue; to lose one is better than to hang."""
UNNAMED: Final = "unknown"
"""What sd_listen_fds_with_names(3) calls a socket whose unit gives it no name."""

VARIABLES: Final = frozenset(
    {
        "LISTEN_FDNAMES",
        "LISTEN_FDS",
        "LISTEN_PID",
        "LISTEN_PIDFDID",
        "NOTIFY_SOCKET",
        "WATCHDOG_PID",
        "WATCHDOG_USEC",
    }
)
"""What is meant for this process alone and must not reach its children."""


class Notifier:
    """Tells the service manager how the service is; says nothing if no manager asked.

    Each method gives whether the manager got the word. That it did not is never a reason to fail, as
    sd_notify(3) advises.
    """

    __slots__ = ("_address",)

    def __init__(self, environ: Mapping[str, str]) -> None:
        """Take the manager's socket from NOTIFY_SOCKET: a path, or "@" and an abstract name.

        Anything else (a vsock of a virtual machine's host) counts as no manager.
        """
        address = environ.get("NOTIFY_SOCKET", "")
        self._address = ""
        if address.startswith("/"):
            self._address = address
        elif address.startswith("@") and len(address) > 1:
            self._address = "\0" + address[1:]

    @property
    def wanted(self) -> bool:
        """Whether a manager listens."""
        return bool(self._address)

    def ready(self, status: str = "") -> bool:
        """Say that start, or reload, is done."""
        return self._send("READY=1", *_status(status))

    def reloading(self, monotonic_us: int, status: str = "") -> bool:
        """Say that a reload begins, at `monotonic_us` of CLOCK_MONOTONIC; `ready` ends it.

        Type=notify-reload of systemd.service(5) needs both.
        """
        return self._send("RELOADING=1", f"MONOTONIC_USEC={monotonic_us}", *_status(status))

    def stopping(self, status: str = "") -> bool:
        """Say that the service is shutting down."""
        return self._send("STOPPING=1", *_status(status))

    def extend(self, more_s: float) -> bool:
        """Ask for `more_s` from now on before start, reload or stop counts as failed."""
        return self._send(f"EXTEND_TIMEOUT_USEC={round(more_s * 1_000_000)}")

    def status(self, words: str) -> bool:
        """Return the one line that `systemctl status` shows."""
        return self._send(*_status(words))

    def watchdog(self) -> bool:
        """Say that the service still lives."""
        return self._send("WATCHDOG=1")

    def _send(self, *lines: str) -> bool:
        if not self._address or not lines:
            return False
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sender:
                sender.settimeout(SEND_TIMEOUT_S)
                sender.connect(self._address)
                sender.sendall("\n".join(lines).encode("utf-8", "backslashreplace"))
        except OSError:
            return False
        return True


def _status(words: str) -> tuple[str, ...]:
    """Return the status line, without the line ends that would begin another assignment."""
    plain = " ".join(words.split())
    return (f"STATUS={plain}",) if plain else ()


def listen_fds(environ: Mapping[str, str], pid: int) -> list[int]:
    """Return the sockets that systemd opened for process `pid`, set to close on exec; usually none.

    Raises ValueError if the variables are malformed, OSError if a socket they speak of is not open.
    """
    if _whole(environ, "LISTEN_PID") != pid:
        return []
    count = _whole(environ, "LISTEN_FDS") or 0
    fds = range(FIRST_FD, FIRST_FD + count)
    for fd in fds:
        os.set_inheritable(fd, False)
    return list(fds)


def listen_fd_names(environ: Mapping[str, str], count: int) -> list[str]:
    """Return the names of the `count` sockets of `listen_fds`, as FileDescriptorName= set them.

    Raises ValueError if there are names, but not as many as sockets.
    """
    raw = environ.get("LISTEN_FDNAMES")
    if raw is None:
        return [UNNAMED] * count
    names = raw.split(":") if count or raw else []
    if len(names) != count:
        raise ValueError(f"LISTEN_FDNAMES has {len(names)} names for {count} sockets")
    return names


def watchdog_interval_s(environ: Mapping[str, str], pid: int) -> float | None:
    """Return the time within which `pid` must say `watchdog`, None if nobody watches it.

    sd_watchdog_enabled(3) recommends to say it at half of this. Raises ValueError if the variables are
    malformed.
    """
    interval_us = _whole(environ, "WATCHDOG_USEC")
    if interval_us is None:
        return None
    watched = _whole(environ, "WATCHDOG_PID")
    if watched is not None and watched != pid:
        return None
    if not interval_us:
        raise ValueError("WATCHDOG_USEC is 0")
    return interval_us / 1_000_000


def _whole(environ: Mapping[str, str], name: str) -> int | None:
    """Return the variable's whole number, None if it is not set; int() itself takes too much."""
    raw = environ.get(name)
    if raw is None:
        return None
    if not (raw.isascii() and raw.isdigit()):
        raise ValueError(f"{name}={raw!r} is not a whole number")
    return int(raw)
