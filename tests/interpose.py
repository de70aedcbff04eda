"""Calls of the C library that fail, fall short or take long: controls `shims/interpose.c`."""

from __future__ import annotations

import contextlib
import mmap
import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import shims

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path


# In the order of the source's `enum kind`.
KINDS = (
    "pwrite",
    "pread",
    "flock",
    "fsync",
    "openat",
    "linkat",
    "fallocate",
    "ftruncate",
    "sendfile",
    "recv",
    "send",
)
_SEED = struct.Struct("Q")
_RULE = struct.Struct("4I3Q")
_COUNTS = struct.Struct("5Q")
_PPM = 1_000_000


class Rule(NamedTuple):
    """What becomes of the calls of one kind."""

    fail: float = 0.0
    """Share of them that fails."""
    shorten: float = 0.0
    """Share of them that moves half of what it is asked to."""
    delay_s: tuple[float, float] = (0.0, 0.0)
    """How much longer they take: at least, at most."""
    delay_bytes: int = 0
    """Calls that move less are not delayed."""
    fail_bytes: int = 0
    """Calls that move less do not fail."""
    error: int = 0
    """The errno of those that fail; 0: one that the call is known to give."""


class Counts(NamedTuple):
    """What was done to the calls of one kind."""

    calls: int
    failed: int
    shortened: int
    delayed: int
    aside: int
    """How many of those that failed another thread had made than a process's first."""


@dataclass(frozen=True)
class Faults:
    """The rules of the processes that were started with `environ`; they hold from the moment they are set."""

    environ: dict[str, str]
    _control: mmap.mmap

    def set(self, rules: Mapping[str, Rule]) -> None:
        """Have these rules, and none for other kinds."""
        for number, kind in enumerate(KINDS):
            rule = rules.get(kind, Rule())
            least_s, most_s = rule.delay_s
            _RULE.pack_into(
                self._control,
                _at(number),
                int(rule.fail * _PPM),
                int(rule.shorten * _PPM),
                int(least_s * 1e6),
                int((most_s - least_s) * 1e6),
                rule.delay_bytes,
                rule.fail_bytes,
                rule.error,
            )

    def counts(self) -> dict[str, Counts]:
        """Return what was done so far, by kind; only calls that a rule held for are counted."""
        return {
            kind: Counts(*_COUNTS.unpack_from(self._control, _at(number) + _RULE.size))
            for number, kind in enumerate(KINDS)
        }


def _at(number: int) -> int:
    return _SEED.size + number * (_RULE.size + _COUNTS.size)


@contextlib.contextmanager
def built(gcc: str, where: Path, *, seed: int) -> Iterator[Faults]:
    """Return faults without a rule yet; `seed` decides which calls they hit."""
    control = where / "faults"
    control.write_bytes(_SEED.pack(seed).ljust(_at(len(KINDS)), b"\0"))
    library = shims.compiled(gcc, "interpose", where)
    with control.open("r+b") as file, mmap.mmap(file.fileno(), 0) as mapped:
        yield Faults({**shims.preload(library), "HMACFS_FAULTS": str(control)}, mapped)
