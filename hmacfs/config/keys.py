"""What may be said of one key of the configuration: its kind, its bounds, its meaning.

Knows no key by name: `settings` names them, `load` reads them, `render` prints them.
"""

from __future__ import annotations

import dataclasses
import enum
from dataclasses import dataclass
from typing import Any, Final, NamedTuple, TypeVar

T = TypeVar("T")
LEAST: Final = 0
MOST: Final = 2**62
_RULES: Final = "key"


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
    """The rules of one key; `setting` makes a field of them."""

    kind: ValueKind
    """How it is written."""
    meaning: str
    """One line for the reference: what it does, with its unit and its dangers."""
    name: str = ""
    """The key in TOML; "" if it is the field's own name (fields may add a unit: `_s`)."""
    least: float = LEAST
    """Smallest number accepted, in bytes, seconds or pieces; of a MODE, the bits that must be set."""
    most: float = MOST
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


def setting(  # noqa: PLR0913 - what may be said of a key
    kind: ValueKind,
    default: T,
    meaning: str,
    *,
    name: str = "",
    least: float = LEAST,
    most: float = MOST,
    choices: tuple[str, ...] = (),
    fixed: bool = False,
) -> T:
    """Return the field of a settings class that holds a key's value; the rest is as `Key` has it.

    To the type checker it is the default, as what `dataclasses.field` returns is.
    """
    rules = Key(kind=kind, meaning=meaning, name=name, least=least, most=most, choices=choices, fixed=fixed)
    made: Any = dataclasses.field(default=default, metadata={_RULES: rules})
    return made  # type: ignore[no-any-return] # a Field, which the class replaces by its default


def entries(table: type) -> tuple[KeyField, ...]:
    """Return the entries of a settings class in order; fields that `setting` has not made are left out."""
    keyed = ((field, field.metadata[_RULES]) for field in dataclasses.fields(table) if field.metadata)
    return tuple(KeyField(field.name, key.name or field.name, key, field.default) for field, key in keyed)
