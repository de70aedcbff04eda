"""Secrets: from text, from the environment or from a file; weak ones are refused.

The only place of the configuration that sees key bytes. No message holds a secret.
"""

from __future__ import annotations

import os
import re
import stat
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from hmacfs.config import invisible, weakness
from hmacfs.config.report import spell
from hmacfs.model import KiB, Lookalike, Secret

if TYPE_CHECKING:
    from collections.abc import Mapping

    from hmacfs.config.report import KeyPath, Report

ADVICE: Final = "a random secret of 32 bytes or more; make one with: openssl rand -hex 32"

_VARIABLE: Final = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)\}", re.ASCII)
_FILE_MOST_BYTES: Final = 64 * KiB
_OTHERS_READ: Final = stat.S_IRGRP | stat.S_IROTH


@dataclass(frozen=True, slots=True, kw_only=True)
class Keyring:
    """Reads the secrets of one configuration."""

    report: Report
    """Where faults go."""
    environ: Mapping[str, str]
    """What "${NAME}" may name."""
    base_dir: str
    """Where relative paths start."""
    allow_weak: bool
    """Whether weak secrets are accepted, with a notice."""

    def read(self, value: object, path: KeyPath) -> tuple[Secret, ...]:
        """Return the secrets of a string or a list of strings; () if there is none or a fault."""
        given = value if isinstance(value, list) else [value]
        paths = [(*path, index) for index in range(len(given))] if isinstance(value, list) else [path]
        found = [self.read_one(one, where) for one, where in zip(given, paths, strict=True)]
        return tuple(secret for secret in found if secret is not None)

    def read_one(self, value: object, path: KeyPath) -> Secret | None:
        """Return the secret that one string means; None if it is empty or a fault."""
        if not isinstance(value, str):
            # What stands there may be a secret in the wrong shape, so it is not shown.
            self.report.fault(path, f"a {type(value).__name__} is no secret", "a string in quotes")
            return None
        text = self._expand(value, path, whole=True)
        return self._accept(text.encode("utf-8", "surrogateescape"), path) if text else None

    def read_file(self, value: str, path: KeyPath) -> Secret | None:
        """Return the secret that the file holds, without one newline at its end; None if that is a fault."""
        name = self._expand(value, path, whole=False)
        if not name:
            return None
        try:
            facts, content = _content(os.path.join(self.base_dir, name))  # noqa: PTH118 - plain text
        except (OSError, ValueError) as error:
            reason = (error.strerror if isinstance(error, OSError) else None) or "not a readable file"
            self.report.fault(
                path, f"cannot read the file: {reason}", "a readable file that holds the secret"
            )
            return None
        if facts.st_mode & _OTHERS_READ:
            self.report.notice(path, "the file can be read by others than its owner; better: chmod 600")
        secret = content.removesuffix(b"\n")
        if not secret:
            self.report.fault(path, "the file is empty", ADVICE)
            return None
        return self._accept(secret, path)

    def _accept(self, secret: bytes, path: KeyPath) -> Secret:
        """Return `secret`, with a fault or a notice if it is weak."""
        if reason := weakness.of(secret):
            if self.allow_weak:
                self.report.notice(path, f"the secret is {reason}; anyone may guess it (allow_weak_secret)")
            else:
                self.report.fault(path, f"the secret is {reason}", ADVICE)
        inner, ends = invisible.trim(secret)
        if not ends or not inner:
            return Secret(secret)
        # Part of it all the same: the XMPP server may have the same bytes.
        words = f"the secret {ends}, which nobody sees; if the XMPP server's does not, every upload gets 403"
        self.report.notice(path, words)
        return Secret(secret, Lookalike(inner, spell(path), ends))

    def _expand(self, text: str, path: KeyPath, *, whole: bool) -> str:
        """Put variables in; a secret may only be one as a `whole`. "" if there is a fault."""
        names = _VARIABLE.findall(text)
        if whole and names and not _VARIABLE.fullmatch(text):
            self.report.fault(path, "a variable inside other text", '"${NAME}" alone')
            return ""
        for name in names:
            if not self.environ.get(name):
                self.report.fault(path, f"the variable {name} is not set", f"{name} in the environment")
                return ""
        return _VARIABLE.sub(lambda match: self.environ[match[1]], text)


def _content(path: str) -> tuple[os.stat_result, bytes]:
    """Read a regular file of a sane size; OSError or ValueError if it is not one."""
    # Not blocking, since the name may be a pipe that nobody writes to.
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    with os.fdopen(fd, "rb") as file:
        facts = os.fstat(fd)
        if not stat.S_ISREG(facts.st_mode) or facts.st_size > _FILE_MOST_BYTES:
            raise ValueError(path)
        return facts, file.read(_FILE_MOST_BYTES)
