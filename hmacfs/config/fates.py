"""What may be said of one key of the Go hmac-file-server: its type there and what becomes of it here.

Knows no key by name: `struct_keys` and `template_keys` name them, `compat` joins them, `adopt` acts on them.
"""

from __future__ import annotations

import enum
from typing import Final, NamedTuple


class Fate(enum.Enum):
    """What happens to a key; the value is the word of the report."""

    HONOURED = "honoured"
    LATER = "not yet"
    IGNORED = "ignored"


class ConfigForm(enum.Enum):
    """The type of a key's value; the value of the member says in words what to write."""

    TEXT = "text in quotes"
    FLAG = "true or false, without quotes"
    NUMBER = "a whole number, without quotes"
    REAL = "a number, without quotes"
    EITHER = "text in quotes or a whole number"
    TEXTS = "a list of texts in quotes"
    LIST = "a list"
    TABLE = "a table"
    OWN = "a value as our own key has it"
    """Read by the key of ours that it becomes, which knows better."""


class KeyFate(NamedTuple):
    """One key's type and fate."""

    fate: Fate
    words: str
    """Why; of an honoured key, what it becomes."""
    form: ConfigForm = ConfigForm.OWN
    to: tuple[str, str] | None = None
    """Table and name of the key of ours that takes its value as it is; None if there is no such one."""


_TYPES: Final[dict[ConfigForm, tuple[type, ...]]] = {
    ConfigForm.TEXT: (str,),
    ConfigForm.NUMBER: (int,),
    ConfigForm.REAL: (int, float),
    ConfigForm.EITHER: (str, int),
    ConfigForm.TEXTS: (list,),
    ConfigForm.LIST: (list,),
    ConfigForm.TABLE: (dict,),
}


def fits(value: object, form: ConfigForm) -> bool:
    """Tell whether a value of TOML has the type `form`. A whole number is a number, true is none."""
    if form is ConfigForm.OWN:
        return True
    if isinstance(value, bool) or form is ConfigForm.FLAG:
        return isinstance(value, bool) and form is ConfigForm.FLAG
    if not isinstance(value, _TYPES[form]):
        return False
    return form is not ConfigForm.TEXTS or (
        isinstance(value, list) and all(isinstance(one, str) for one in value)
    )


def honoured(words: str, form: ConfigForm = ConfigForm.OWN) -> KeyFate:
    """Return the row of a key that is followed; `words` say what it becomes."""
    return KeyFate(Fate.HONOURED, words, form)


def later(words: str) -> KeyFate:
    """Return the row of a key whose feature is not there yet; `words` say what happens meanwhile."""
    return KeyFate(Fate.LATER, words)


def ignored(words: str) -> KeyFate:
    """Return the row of a key that has no meaning here; `words` say why."""
    return KeyFate(Fate.IGNORED, words)


def moved(table: str, name: str) -> KeyFate:
    """Return the row of a key whose value is that of a key of ours, under another name."""
    return KeyFate(Fate.HONOURED, f"is `{table}.{name}`", ConfigForm.OWN, (table, name))


def same(names: str) -> dict[str, KeyFate]:
    """Return the rows of keys that bear our own names."""
    return dict.fromkeys(names.split(), honoured("the same key here"))


_FORMS: Final = {
    "text": ConfigForm.TEXT,
    "flag": ConfigForm.FLAG,
    "number": ConfigForm.NUMBER,
    "real": ConfigForm.REAL,
    "either": ConfigForm.EITHER,
    "texts": ConfigForm.TEXTS,
    "list_": ConfigForm.LIST,
    "table": ConfigForm.TABLE,
}


def rows(row: KeyFate, **names: str) -> dict[str, KeyFate]:
    """Return the rows of keys that share `row`'s fate: their names, divided by spaces, for each type."""
    return {
        name: row._replace(form=_FORMS[form]) for form, listed in names.items() for name in listed.split()
    }
