"""What may be said of one key of the configuration: its kind, its bounds, its meaning.

Knows no key by name: `settings` names them, `load` reads them, `render` prints them.
"""

from __future__ import annotations

import dataclasses
import enum
import typing
from dataclasses import dataclass
from typing import Final, NamedTuple


class ValueKind(enum.Enum):
    """How a value is written in TOML."""

    COUNT = enum.auto()
    SIZE = enum.auto()
    DURATION = enum.auto()
    WHOLE_SECONDS = enum.auto()
    MODE = enum.auto()
    TEXT = enum.auto()
    FLAG = enum.auto()
    CHOICE = enum.auto()
    PATH = enum.auto()
    LISTEN = enum.auto()
    LISTENS = enum.auto()
    SECRETS = enum.auto()
    SECRET = enum.auto()
    NAMES = enum.auto()
    ORIGINS = enum.auto()
    NETWORKS = enum.auto()


@dataclass(frozen=True, slots=True, kw_only=True)
class Key:
    """One key, as `Annotated[type, Key(...)]` on the field that holds its value."""

    kind: ValueKind
    """How it is written."""
    meaning: str
    """One line for the reference: what it does, with its unit and its dangers."""
    name: str = ""
    """The key in TOML; "" if it is the field's own name (fields may add a unit: `_s`)."""
    least: float = 0
    """Smallest number accepted, in bytes, seconds or pieces; of a MODE, the bits that must be set."""
    most: float = 2**62
    """Largest number accepted; of a MODE, the bits that may be set."""
    choices: tuple[str, ...] = ()
    """The words accepted, if `kind` is CHOICE or NAMES."""
    fixed: bool = False
    """Whether a change needs a restart (SIGHUP cannot apply it)."""


class KeyField(NamedTuple):
    """A field of a settings class together with its key."""

    field: str
    """Name of the dataclass field."""
    name: str
    """Name of the key in TOML."""
    key: Key
    """Its rules."""
    default: object
    """The field's default, in bytes, seconds or as its class has it."""


def entries(table: type) -> tuple[KeyField, ...]:
    """Return the entries of a settings class in order; fields without a `Key` are left out."""
    hints = typing.get_type_hints(table, include_extras=True)
    found: Final[list[KeyField]] = []
    for field in dataclasses.fields(table):
        marks = getattr(hints[field.name], "__metadata__", ())
        for key in marks:
            if isinstance(key, Key):
                found.append(KeyField(field.name, key.name or field.name, key, field.default))
    return tuple(found)
