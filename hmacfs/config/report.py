"""Faults and notices: what is said of a configuration, with line, key path and advice.

Knows no key; `Report` collects, so that one run shows everything.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final, TypeAlias

KeyPath: TypeAlias = tuple[str | int, ...]
"""A place in a TOML document: keys, and indexes of arrays."""

_SHOWN_LENGTH: Final = 60


def spell(path: KeyPath) -> str:
    """Write a key path as people read it: `endpoint[0].prefix`."""
    words = ""
    for part in path:
        if isinstance(part, int):
            words += f"[{part}]"
        else:
            words += ("." if words else "") + (part if part.isprintable() else ascii(part))
    return words


def show(value: object) -> str:
    """Write a value that was found, short and printable whatever it is."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, dict):
        return "a table"
    if isinstance(value, list):
        return "a list"
    if isinstance(value, int) and value.bit_length() > 64:  # noqa: PLR2004 - TOML promises 64 bits
        return "a number of more than 64 bits"  # Python refuses to print the largest of them
    text = ascii(value) if isinstance(value, str) and not value.isprintable() else str(value)
    if len(text) > _SHOWN_LENGTH:
        text = text[:_SHOWN_LENGTH] + "..."
    return f'"{text}"' if isinstance(value, str) else text


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """One thing that is wrong."""

    file: str
    """Name of the configuration, as the operator gave it."""
    line: int
    """Line, counted from 1; 0 if the file could not be read."""
    path: str
    """Key path, or "" if the fault is of the file as a whole."""
    found: str
    """What stands there."""
    expected: str
    """What should."""
    nearest: str = ""
    """The known key that is spelled most like it, or ""."""

    def __str__(self) -> str:
        """Return the fault as one line of a report."""
        place = f"{self.file}:{self.line}: " if self.line else f"{self.file}: "
        key = f"{self.path}: " if self.path else ""
        advice = f' (did you mean "{self.nearest}"?)' if self.nearest else ""
        expected = f"; expected {self.expected}" if self.expected else ""
        return f"{place}{key}{self.found}{expected}{advice}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Notice:
    """One thing worth knowing that stops nothing."""

    file: str
    """Name of the configuration."""
    line: int
    """Line, counted from 1; 0 if none says it."""
    path: str
    """Key path."""
    words: str
    """What to know."""

    def __str__(self) -> str:
        """Return the notice as one line of a report."""
        place = f"{self.file}:{self.line}: " if self.line else f"{self.file}: "
        key = f"{self.path}: " if self.path else ""
        return f"{place}{key}{self.words}"


class Faulty(Exception):  # noqa: N818 - it names the configuration's state, as Refused does
    """Raised with every fault of a configuration at once."""

    def __init__(self, faults: tuple[Fault, ...], notices: tuple[Notice, ...] = ()) -> None:
        """Carry `faults`, never empty, in the order of their lines, and what else there is to say."""
        super().__init__("\n".join(str(fault) for fault in faults))
        self.faults = faults
        self.notices = notices


@dataclass(slots=True, kw_only=True)
class Report:
    """Collects faults and notices of one document."""

    file: str
    """Name of the configuration."""
    lines: dict[KeyPath, int]
    """Where each key path begins."""
    faults: list[Fault] = field(default_factory=list)
    """Found so far."""
    notices: list[Notice] = field(default_factory=list)
    """Found so far."""

    def line(self, path: KeyPath) -> int:
        """Return the line of `path`, or of the nearest thing around it that has one."""
        for length in range(len(path), 0, -1):
            if (line := self.lines.get(path[:length])) is not None:
                return line
        return 1

    def fault(self, path: KeyPath, found: str, expected: str, nearest: str = "") -> None:
        """Note a fault at `path`."""
        self.faults.append(
            Fault(
                file=self.file,
                line=self.line(path),
                path=spell(path),
                found=found,
                expected=expected,
                nearest=nearest,
            )
        )

    def notice(self, path: KeyPath, words: str) -> None:
        """Note something worth knowing at `path`."""
        self.notices.append(Notice(file=self.file, line=self.line(path), path=spell(path), words=words))

    def retract(self, path: KeyPath) -> None:
        """Take back the notices about `path`, since what is known now is truer."""
        self.notices = [notice for notice in self.notices if notice.path != spell(path)]

    def in_order(self) -> tuple[Notice, ...]:
        """Return the notices in the order of their lines."""
        return tuple(sorted(self.notices, key=lambda notice: notice.line))

    def settle(self) -> None:
        """Raise Faulty if there is any fault."""
        if self.faults:
            faults = tuple(sorted(self.faults, key=lambda fault: (fault.line, fault.path)))
            raise Faulty(faults, self.in_order())
